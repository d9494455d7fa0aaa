"""L’événement en cours de traitement, et la chaîne de ceux qui l’ont causé."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .domain_event import DomainEvent

# A bare tuple, and one variable for all three values: this is set on every publish.
Cause = tuple["DomainEvent", int, "Cause | None"]  # (event, its depth, what caused it)

current_cause: ContextVar[Cause | None] = ContextVar("current_cause", default=None)


def chain_of(cause: Cause | None) -> list[DomainEvent]:
    """Renvoie les événements de la chaîne connue de ce processus, le plus ancien d’abord."""
    chain = []
    while cause is not None:
        event, _, cause = cause
        chain.append(event)
    return chain[::-1]
