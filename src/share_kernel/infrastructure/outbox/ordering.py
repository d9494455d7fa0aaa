"""La clé sous laquelle les livraisons d’un handler se suivent."""

from __future__ import annotations

import hashlib
from enum import Enum
from uuid import UUID

from ...domain.domain_event import PayloadError
from ..dispatch import Dispatch
from .models import KEY_LENGTH


def key_of(item: Dispatch) -> str | None:
    """Renvoie la clé d’une livraison, telle que sa ligne la garde ; ``None`` si rien ne l’ordonne.

    Raises:
        PayloadError: l’attribut manque, échoue, ou sa valeur n’est pas une clé.
    """
    event = item.event
    name = item.subscription.ordering_key_of(type(event))
    if name is None:
        return None
    label = f"{event.event_type} {event.event_id} has no ordering key for {item.subscription.name}"
    try:
        value = getattr(event, name)
    except Exception as error:
        raise PayloadError(f"{label}: {name} raises {error!r}.") from error
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, str):
        return value if value is None else _short(value)
    if isinstance(value, int | UUID):
        return str(value)
    raise PayloadError(
        f"{label}: {name} is {value!r:.100}, not a text, a whole number, a UUID or None."
    )


def _short(text: str) -> str:
    """Une clé trop longue, ou qu’une colonne refuserait, est remplacée par son empreinte."""
    if len(text) <= KEY_LENGTH and text.isprintable():
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
