"""Comparer ce qui devait arriver et ce qui est arrivé."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

INNOCENT = ("slow", "flaky", "deadly", "orderly", "ok")
POISON = "poison"
FAULTS = ("late", "lost", "phantom", "duplicates", "order_violations")

Pair = tuple[str, str]
"""Un événement et un handler."""
Start = tuple[str, str, str, int]
"""Un événement, un handler, une clé, et le rang de l’événement sous cette clé."""

Line = TypeVar("Line", bound=Hashable)


@dataclass(frozen=True)
class Findings:
    """Les comptes, et les cinq ensembles qui doivent être vides."""

    orders: int
    deliveries: int
    effects: int
    dead: int
    rolled_back: int
    late: Sequence[Pair]
    lost: Sequence[Pair]
    phantom: Sequence[Pair]
    duplicates: Sequence[Pair]
    order_violations: Sequence[Pair]

    @property
    def clean(self) -> bool:
        """Rien d’inachevé, de perdu, d’inventé, de doublé ni de commencé avant son tour."""
        return not any(getattr(self, word) for word in FAULTS)


def out_of_order(starts: Iterable[tuple[Line, int]]) -> list[tuple[Line, int]]:
    """Renvoie les départs qui en suivent un de rang plus grand, dans la même file.

    Un rang qui part encore n’a doublé personne : c’est le même, qui n’avait pas fini.
    """
    furthest: dict[Line, int] = {}
    late = []
    for line, rank in starts:
        if rank < furthest.get(line, rank):
            late.append((line, rank))
        furthest[line] = max(rank, furthest.get(line, rank))
    return late


def compare(
    orders: Iterable[str],
    deliveries: Sequence[tuple[str, str, str]],
    effects: Sequence[Pair],
    rolled_back: set[str],
    starts: Sequence[Start],
    *,
    durable: bool,
) -> Findings:
    """Compare les ensembles.

    Args:
        orders: les événements des commandes validées.
        deliveries: événement, handler et état de chaque ligne du registre.
        effects: événement et handler de chaque effet.
        rolled_back: les événements des transactions annulées exprès.
        starts: les départs des handlers qui ont une clé, dans l’ordre où ils ont eu lieu.
        durable: sans registre, le handler empoisonné ne laisse aucune trace à vérifier.
    """
    published = set(orders) - rolled_back
    dead, pending = (
        {(event, handler) for event, handler, state in deliveries if state == wanted}
        for wanted in ("dead", "pending")
    )
    wanted = {(event, handler) for event in published for handler in INNOCENT}
    given_up = {(event, POISON) for event in published} if durable else set()
    seen = [*effects, *((event, handler) for event, handler, _ in deliveries)]
    return Findings(
        orders=len(published),
        deliveries=len(deliveries),
        effects=len(effects),
        dead=len(dead),
        rolled_back=len(rolled_back),
        # Its row still promises the effect: nothing is lost, the run ended too soon.
        late=sorted(pair for pair in pending if pair[0] in published),
        # An innocent handler that was given up has no effect either: it counts here.
        lost=sorted(((wanted - set(effects)) | (given_up - dead)) - pending),
        # The poison rolls its own effect back: one that stays was never allowed.
        phantom=sorted(
            {pair for pair in seen if pair[0] not in published}
            | {pair for pair in effects if pair[1] == POISON}
        ),
        duplicates=sorted(pair for pair, count in Counter(effects).items() if count > 1),
        order_violations=order_violations(starts),
    )


def order_violations(starts: Sequence[Start]) -> list[Pair]:
    """Renvoie les livraisons qui partent après une autre de leur clé, publiée plus tard."""
    events = {(handler, key, rank): event for event, handler, key, rank in starts}
    late = out_of_order(((handler, key), rank) for _, handler, key, rank in starts)
    return [(events[*line, rank], line[0]) for line, rank in late]
