"""Le registre des types d’événements : quelle classe porte quel nom."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from .errors import UnknownEventTypeError

if TYPE_CHECKING:
    from .domain_event import DomainEvent

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
WIRE_NAME_LENGTH = 200  # the width of a column of the delivery register

event_types: dict[str, type[DomainEvent]] = {}
"""Chaque classe enregistrée, sous son ``event_type``."""


def get_event_class(event_type: str) -> type[DomainEvent]:
    """Renvoie la classe enregistrée sous le nom *event_type*.

    Raises:
        UnknownEventTypeError: aucune ; le message propose le nom le plus proche.
    """
    try:
        return event_types[event_type]
    except KeyError:
        close = difflib.get_close_matches(event_type, event_types, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownEventTypeError(
            f"No event class is registered as {event_type!r}.{hint} "
            "Decorate it with @register_event and import its module at start-up, "
            "for instance from a handlers.py."
        ) from None


def is_wire_name(name: object) -> bool:
    """Dit si *name* peut nommer un événement : ``contexte.fait``, en minuscules."""
    return isinstance(name, str) and len(name) <= WIRE_NAME_LENGTH and bool(_NAME.fullmatch(name))


def snapshot() -> dict[str, type[DomainEvent]]:
    """Renvoie une copie du registre, à donner à :func:`restore`."""
    return dict(event_types)


def restore(saved: dict[str, type[DomainEvent]]) -> None:
    """Rend au registre exactement ce qu’une copie en avait gardé."""
    event_types.clear()
    event_types.update(saved)
