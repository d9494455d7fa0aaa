"""La charge utile : un événement en types JSON, et retour, égal à ce qui est parti."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .errors import DomainEventError, PayloadError

if TYPE_CHECKING:
    from .domain_event import DomainEvent

T = TypeVar("T")

# A Celery worker hands its arguments to a pool by pickling them, and dies of a RecursionError
# near 300 levels: the message then comes back, and kills the next one.
MAX_NESTING = 100

_EPOCH = datetime.fromtimestamp(0, UTC)

# What msgspec raises for a value or a text that it cannot convert.
_REFUSALS = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)

# The methods of the base itself: a subclass may have redefined them.
_AS_BASE: dict[Any, Any] = {str: str.__str__, bytes: bytes.__bytes__, Decimal: Decimal}
_AS_BASE |= {int: int.__int__, float: float.__float__, timedelta: timedelta.__pos__}


def encode(value: object) -> dict[str, Any]:
    """Renvoie *value* en types JSON : textes, nombres, booléens, listes et dictionnaires.

    Raises:
        PayloadError: une valeur n’a pas d’écriture JSON.
    """
    try:
        data: dict[str, Any]
        try:
            data = msgspec.to_builtins(value, str_keys=True)
        except TypeError:  # a subclass of a scalar, perhaps: rebuilding is slow, and seldom needed
            data = msgspec.to_builtins(_rebuilt(value, _as_base), str_keys=True)
    except _REFUSALS as error:
        raise PayloadError(str(error)) from None
    return data


def decode(data: object, into: type[T]) -> T:
    """Reconstruit un objet de la classe *into* depuis des types JSON.

    Raises:
        PayloadError: un champ manque ou n’a pas le bon type ; le message le nomme.
    """
    try:
        return msgspec.convert(data, into, str_keys=True, dec_hook=_from_base)
    except _REFUSALS as error:
        raise PayloadError(str(error)) from None


def base_of(kind: type) -> type:
    """Renvoie le type de Python dont *kind* dérive.

    Il est cherché par son module, car freezegun remplace ``datetime`` et ``date`` partout où
    leur nom est importé.
    """
    native = ("builtins", "datetime", "decimal")
    return next(base for base in kind.__mro__ if base.__module__ in native)


def travelling(event: DomainEvent) -> dict[str, Any]:
    """Renvoie la charge utile de *event*, après s’être assuré qu’il en revient égal.

    Raises:
        PayloadError: une valeur changerait ou ne peut pas voyager ; le message nomme le champ.
    """
    try:
        data = _through_json(event.to_dict())
        back = type(event).from_dict(data)
        if _equal(back, event):
            return data
    except DomainEventError:
        pass
    label = f"{event.event_type} {event.event_id}"
    raise PayloadError(f"{label} cannot travel: {_first_fault(event)}")


def _rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """Refait *value*, chaque scalaire passé par *change*, jusque dans ce qu’elle contient."""
    if isinstance(value, type | enum.Enum):
        return value
    if dataclasses.is_dataclass(value):
        made = object.__new__(type(value))  # never copy(value), which may return value itself
        for field in dataclasses.fields(value):
            object.__setattr__(made, field.name, _rebuilt(getattr(value, field.name), change))
        return made
    if isinstance(value, dict):
        return {_rebuilt(key, change): _rebuilt(item, change) for key, item in value.items()}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return kind(_rebuilt(item, change) for item in value)
    return change(value)


def _as_base(value: Any) -> Any:
    base: Any = base_of(type(value))
    if hasattr(base, "fromisoformat"):  # date, time and datetime
        return base.fromisoformat(base.isoformat(value))
    return _AS_BASE[base](value) if base in _AS_BASE else value


def _from_base(kind: type, value: object) -> object:
    """Lit *value* pour un type qui se dit le parent de sa base : une date de freezegun."""
    return msgspec.convert(value, base_of(kind))


def _as_instant(value: Any) -> Any:
    is_aware = isinstance(value, datetime) and value.utcoffset() is not None
    return value - _EPOCH if is_aware else value


def _equal(back: object, sent: object) -> bool:
    """Compare deux valeurs, et leurs dates par leur instant.

    Pour Python, deux dates de fuseaux différents ne sont jamais égales à l’heure qui se répète.
    """
    try:
        same = back is sent or back == sent
        return bool(same or _rebuilt(back, _as_instant) == _rebuilt(sent, _as_instant))
    except Exception:  # a signaling NaN, or a class that refuses the comparison
        return False


def _changed(back: DomainEvent, sent: DomainEvent) -> list[str]:
    """Nomme les champs qui ne sont pas revenus égaux."""
    fields = (field.name for field in dataclasses.fields(sent) if field.compare)
    return [name for name in fields if not _equal(getattr(back, name), getattr(sent, name))]


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
    """Refait le voyage pas à pas, pour nommer le champ qui n’arrive pas."""
    data: dict[str, Any] = {}
    for field in dataclasses.fields(event):
        try:
            data |= _through_json(encode({field.name: getattr(event, field.name)}))
        except PayloadError as error:
            return f"{_named(event, field.name)}: {error}"
    try:
        back = decode(data, type(event))
    except PayloadError as error:
        why, path = str(error), re.search(r"`\$\.(\w+)", str(error))  # where msgspec stopped
        return f"{_named(event, path[1])}: {why.removesuffix(f' - at {path[0]}`')}" if path else why
    for name in _changed(back, event):
        return f"{_named(event, name)} and would come back as {_shown(back, name)}, not equal to it"
    return f"it would come back as another {type(event).__qualname__}; was the class redefined?"


def _named(event: DomainEvent, name: str) -> str:
    return f"field {name!r} is {_shown(event, name)}"


def _shown(event: DomainEvent, name: str) -> str:
    """Écrit une valeur ; seulement son type si le champ est déclaré ``repr=False``."""
    value = getattr(event, name)
    kind = type(value).__name__
    if not event.__dataclass_fields__[name].repr:
        return f"a hidden {kind}"
    try:
        return f"{value!r:.100}"
    except Exception:  # an int of more than 4300 digits, or a class that cannot describe itself
        return f"an unprintable {kind}"
