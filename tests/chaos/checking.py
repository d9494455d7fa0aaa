"""Comparer ce qui devait arriver et ce qui est arrivé."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

INNOCENT = ("slow", "flaky", "deadly", "ok")
POISON = "poison"

Pair = tuple[str, str]
"""Un événement et un handler."""


@dataclass(frozen=True)
class Findings:
    """Les comptes, et les trois ensembles qui doivent être vides."""

    orders: int
    deliveries: int
    effects: int
    dead: int
    rolled_back: int
    lost: Sequence[Pair]
    phantom: Sequence[Pair]
    duplicates: Sequence[Pair]

    @property
    def clean(self) -> bool:
        """Rien de perdu, d’inventé ni de doublé."""
        return not (self.lost or self.phantom or self.duplicates)


def compare(
    orders: Iterable[str],
    deliveries: Sequence[tuple[str, str, str]],
    effects: Sequence[Pair],
    rolled_back: set[str],
    *,
    durable: bool,
) -> Findings:
    """Compare les ensembles.

    Args:
        orders: les événements des commandes validées.
        deliveries: événement, handler et état de chaque ligne du registre.
        effects: événement et handler de chaque effet.
        rolled_back: les événements des transactions annulées exprès.
        durable: sans registre, le handler empoisonné ne laisse aucune trace à vérifier.
    """
    published = set(orders) - rolled_back
    dead = {(event, handler) for event, handler, state in deliveries if state == "dead"}
    wanted = {(event, handler) for event in published for handler in INNOCENT}
    given_up = {(event, POISON) for event in published} if durable else set()
    seen = [*effects, *((event, handler) for event, handler, _ in deliveries)]
    return Findings(
        orders=len(published),
        deliveries=len(deliveries),
        effects=len(effects),
        dead=len(dead),
        rolled_back=len(rolled_back),
        # An innocent handler that was given up has no effect either: it counts here.
        lost=sorted((wanted - set(effects)) | (given_up - dead)),
        # The poison rolls its own effect back: one that stays was never allowed.
        phantom=sorted(
            {pair for pair in seen if pair[0] not in published}
            | {pair for pair in effects if pair[1] == POISON}
        ),
        duplicates=sorted(pair for pair, count in Counter(effects).items() if count > 1),
    )
