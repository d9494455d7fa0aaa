"""La charge utile : un événement en types JSON, et retour sans rien changer."""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .errors import DomainEventError, PayloadError

if TYPE_CHECKING:
    from .domain_event import DomainEvent

T = TypeVar("T")

# A Celery worker hands its arguments to a pool by pickling them, and dies of a RecursionError
# near 300 levels: the message then comes back, and kills the next one.
MAX_NESTING = 100

# What msgspec raises for a value or a text that it cannot convert.
_REFUSALS = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


def encode(value: object) -> dict[str, Any]:
    """Renvoie *value* en types JSON : textes, nombres, booléens, listes et dictionnaires.

    Raises:
        PayloadError: une valeur n’a pas d’écriture JSON.
    """
    try:
        data: dict[str, Any] = msgspec.to_builtins(value, str_keys=True)
    except _REFUSALS as error:
        raise PayloadError(str(error)) from None
    return data


def decode(data: object, into: type[T]) -> T:
    """Reconstruit un objet de la classe *into* depuis des types JSON.

    Raises:
        PayloadError: un champ manque ou n’a pas le bon type ; le message le nomme.
    """
    try:
        return msgspec.convert(data, into, str_keys=True)
    except _REFUSALS as error:
        raise PayloadError(str(error)) from None


def travelling(event: DomainEvent) -> dict[str, Any]:
    """Renvoie la charge utile de *event*, après s’être assuré qu’il en revient identique.

    Raises:
        PayloadError: une valeur changerait ou ne peut pas voyager ; le message nomme le champ.
    """
    try:
        data = event.to_dict()
        if type(event).from_dict(_through_json(data)) == event:
            return data
    except (DomainEventError, ArithmeticError):  # a signaling NaN cannot even be compared
        pass
    label = f"{event.event_type} {event.event_id}"
    raise PayloadError(f"{label} cannot travel: {_first_fault(event)}")


def _through_json(data: dict[str, Any]) -> dict[str, Any]:
    try:
        text = msgspec.json.encode(data)
        arrived: dict[str, Any] = msgspec.json.decode(text)
    except _REFUSALS as error:
        raise PayloadError(str(error)) from None
    if b'"__type__"' in text and _has_kombu_marker(arrived):
        raise PayloadError("a mapping whose keys are __type__ and __value__ is rewritten by Celery")
    if text.count(b"[") + text.count(b"{") > MAX_NESTING and _is_deeper(arrived, MAX_NESTING):
        raise PayloadError(f"it is nested deeper than {MAX_NESTING} levels")
    return arrived


def _is_deeper(data: object, levels: int) -> bool:
    if levels == 0:
        return True
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return any(_is_deeper(child, levels - 1) for child in children)


def _has_kombu_marker(data: object) -> bool:
    if isinstance(data, dict):
        marked = data.keys() == {"__type__", "__value__"}
        return marked or any(map(_has_kombu_marker, data.values()))
    return isinstance(data, list) and any(map(_has_kombu_marker, data))


def _first_fault(event: DomainEvent) -> str:
    """Refait le voyage champ par champ, pour nommer celui qui n’arrive pas."""
    hints = typing.get_type_hints(type(event), include_extras=True)
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        shown = f"field {field.name!r} is {_shown(value, field)}"
        try:
            back = decode(_through_json(encode({"": value}))[""], hints[field.name])
            if back != value:
                return f"{shown} and would come back as {_shown(back, field)}"
        except (DomainEventError, ArithmeticError) as error:
            return f"{shown}: {error}"
    return f"it would come back as another {type(event).__qualname__}; was the class redefined?"


def _shown(value: object, field: dataclasses.Field[Any]) -> str:
    """Écrit une valeur ; seulement son type si le champ est déclaré ``repr=False``."""
    kind = type(value).__name__
    if not field.repr:
        return f"a hidden {kind}"
    try:
        return f"{value!r:.100}"
    except Exception:  # an int of more than 4300 digits, or a class that cannot describe itself
        return f"an unprintable {kind}"
