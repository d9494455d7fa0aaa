"""L’état du registre, lu au même prix quelle que soit sa taille."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Left

from .models import NOT_SENT, WAITING, DatabaseClock, Delivery

END = 5_000  # rows of a state that are read, first the oldest ones, then the newest
REASON = 200  # characters

# Why deliveries are where they are, in the order in which it is told.
DUE, LATER = "due", "to be tried again, or running"
DEPLOYMENT, SENDING = "waiting for a deployment", "not sent"
BEHIND, HELD = "held back by their key", "keys held back"
REASONS = (DUE, LATER, DEPLOYMENT, SENDING, BEHIND, HELD)


@dataclass(frozen=True)
class Group:
    """Les livraisons d’un état à un handler."""

    state: str
    handler: str
    count: int
    more: bool  # the state has rows that were not read
    oldest_seconds: float
    why: str
    held_keys: int  # of its ordering keys, those that these rows hold back though they are dead


def status(using: str) -> list[Group]:
    """Compte les livraisons par état et par handler, avec l’âge de la plus ancienne et la raison.

    D’un état qui a plus de dix mille lignes, seules les plus anciennes et les plus récentes sont
    lues : ``more`` le dit.
    """
    by_state = {state: _read(state, using) for state in sorted(Delivery.State.values)}
    heads: dict[Any, Any] = {}
    line = [*by_state[Delivery.State.PENDING], *by_state[Delivery.State.HOLDING]]
    for row in sorted(line, key=itemgetter("position")):
        row["head"] = heads.setdefault((row["handler"], row["key"]), row["pk"])
    handler = itemgetter("handler")
    return [
        _group(state, name, list(group), more=len(rows) == 2 * END)
        for state, rows in by_state.items()
        for name, group in groupby(sorted(rows, key=handler), handler)
    ]


def _read(state: str, using: str) -> list[dict[str, Any]]:
    now = DatabaseClock()
    unreserved = Q(reserved_until__isnull=True) | Q(reserved_until__lte=now)
    rows = Delivery.objects.using(using).in_state(state)
    read = rows.annotate(
        age=now - F("pending_since"),
        is_due=Q(unreserved, start_after__lte=now),
        reason=Left("error", REASON),
    ).values("pk", "handler", "key", "position", "age", "is_due", "reason")
    ends: list[Any] = list(read[:END])
    if len(ends) == END:
        ends += read.reverse()[:END]
    return list({row["pk"]: row for row in ends}.values())


def _group(state: str, handler: str, rows: list[dict[str, Any]], *, more: bool) -> Group:
    counts: Counter[str] = Counter()
    if state == Delivery.State.PENDING:
        counts.update(map(_wait, rows))
    if state == Delivery.State.HOLDING:
        counts[HELD] = len({row["key"] for row in rows})
    told = ", ".join(f"{counts[what]} {what}" for what in REASONS if counts[what])
    reason = max(row["reason"] for row in rows).partition("\n")[0]
    return Group(
        state=state,
        handler=handler,
        count=len(rows),
        more=more,
        oldest_seconds=round(max(row["age"] for row in rows).total_seconds(), 1),
        why=": ".join(filter(None, [told, reason])),
        held_keys=counts[HELD],
    )


def _wait(row: dict[str, Any]) -> str:
    if row["reason"].startswith(WAITING):
        return DEPLOYMENT
    if row["reason"].startswith(NOT_SENT):
        return SENDING
    if row["key"] is not None and row["head"] != row["pk"]:
        return BEHIND
    return DUE if row["is_due"] else LATER
