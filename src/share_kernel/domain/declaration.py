"""Ce que :func:`register_event` accepte : une classe gelée, un nom, des types qui voyagent.

Certains types passent une conversion sans erreur et changent en route. Ils sont refusés ici,
à l’import, plutôt qu’un jour à la publication.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import inspect as types

from .event_types import WIRE_NAME_LENGTH, is_wire_name
from .payload import base_of

if TYPE_CHECKING:
    from .domain_event import DomainEvent

_A_NAME = f"context.fact, in lower case, of at most {WIRE_NAME_LENGTH} characters"
_TEXTS = (types.StrType, types.BytesType, types.UUIDType, types.DecimalType)
_TIMES = (types.DateTimeType, types.DateType, types.TimeType, types.TimeDeltaType)
_CHOICES = (types.EnumType, types.LiteralType)
_PLAIN = (types.IntType, types.FloatType, types.BoolType, types.NoneType)
_ATOMS = (*_TEXTS, *_TIMES, *_CHOICES, *_PLAIN)
_KEYS = (types.StrType, types.IntType, types.UUIDType, types.DateType, *_CHOICES)
_SEQUENCES = (types.ListType, types.VarTupleType, types.SetType, types.FrozenSetType)
_RECORDS = (types.DataclassType, types.NamedTupleType, types.TypedDictType)


def faults(
    cls: type[DomainEvent], root: type[DomainEvent], registered: Mapping[str, type[DomainEvent]]
) -> Iterator[str]:
    """Nomme ce qui ne va pas dans la déclaration de *cls*, une phrase par faute."""
    if "__dataclass_params__" not in vars(cls):
        yield "it is not a dataclass. Put @dataclass(frozen=True) just below @register_event."
        return
    if not vars(cls)["__dataclass_params__"].frozen:
        yield "an event never changes. Write @dataclass(frozen=True)."
    yield from _class_attribute_faults(cls)
    yield from _name_faults(cls, registered)
    yield from _ancestor_faults(cls, root)
    yield from _field_faults(cls)


def _class_attribute_faults(cls: type[DomainEvent]) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if field.name in ("event_type", "event_version", "ordering_key"):
            yield f"{field.name} is a field, it must be a class attribute. Remove its annotation."
    if type(cls.event_version) is not int or cls.event_version < 1:
        yield f"event_version is {cls.event_version!r}, not a whole number from 1."
    if cls.ordering_key is not None and not names_an_attribute(cls, cls.ordering_key):
        yield f"ordering_key is {cls.ordering_key!r}, which names no field or property of it."


def names_an_attribute(cls: type[DomainEvent], name: object) -> bool:
    """Dit si chaque événement de la classe a cet attribut : un champ, ou une propriété."""
    if not isinstance(name, str):
        return False
    return name in {field.name for field in dataclasses.fields(cls)} or name in dir(cls)


def _name_faults(
    cls: type[DomainEvent], registered: Mapping[str, type[DomainEvent]]
) -> Iterator[str]:
    name = getattr(cls, "event_type", None)
    if not is_wire_name(name):
        yield f"event_type is {name!r}, not a name such as 'invoice.approved': {_A_NAME}."
        return
    other = registered.get(cls.event_type)
    if other and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        yield f"the name {name!r} is taken by {other.__module__}.{other.__qualname__}. Rename one."


def _ancestor_faults(cls: type[DomainEvent], root: type[DomainEvent]) -> Iterator[str]:
    """Sans l’appel au parent, la corrélation et le contrôle de la date seraient perdus."""
    place = cls.__mro__.index(root)
    for ancestor in cls.__mro__[:place]:
        if not _calls_its_parent(vars(ancestor).get("__post_init__")):
            yield f"{ancestor.__qualname__}.__post_init__ must call super().__post_init__() first."
    for ancestor in cls.__mro__[place:]:
        name = ancestor.__qualname__
        if ancestor is not root and "__post_init__" in vars(ancestor):
            yield f"{name}.__post_init__ would never run. Name {name} before {root.__qualname__}."


def _calls_its_parent(post_init: Any) -> bool:
    code = getattr(inspect.unwrap(post_init), "__code__", None) if post_init else None
    # Among the constants when a mixin writes getattr(super(), "__post_init__", …).
    return code is None or "__post_init__" in (*code.co_names, *code.co_consts)


def _field_faults(cls: type[DomainEvent]) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if not field.init:
            yield f"field {field.name!r} has init=False: it would be lost on the way."
    try:
        record = types.type_info(cls)
    except NameError as error:
        yield (
            f"an annotation cannot be resolved ({error}). Define that type at module level, "
            "above the event, and not under TYPE_CHECKING."
        )
    except TypeError as error:
        yield f"a field type does not travel: {error}."
    else:
        yield from _type_faults(record, "", set())


def _type_faults(kind: Any, path: str, seen: set[type]) -> Iterator[str]:
    kind, inside = _understood(kind), f"{path}[]"
    parts: Iterable[Any] = ()
    if isinstance(kind, _RECORDS):
        yield from _record_faults(kind, path, seen)
    elif isinstance(kind, types.UnionType):
        yield from _union_faults(kind, path)
        inside, parts = path, kind.types
    elif isinstance(kind, types.DictType):
        key = _understood(kind.key_type)
        if not isinstance(key, _KEYS):
            yield f"field {path!r}: {_name(key)} is not supported as a mapping key."
        parts = (kind.value_type,)
    elif isinstance(kind, types.TupleType):
        parts = kind.item_types
    elif isinstance(kind, _SEQUENCES):
        parts = (kind.item_type,)
    elif not isinstance(kind, _ATOMS):
        yield f"field {path!r}: {_name(kind)} does not travel in JSON; publish an identifier."
    for part in parts:
        yield from _type_faults(part, inside, seen)


def _record_faults(record: Any, path: str, seen: set[type]) -> Iterator[str]:
    if record.cls in seen:
        return
    seen.add(record.cls)
    cls = typing.get_origin(record.cls) or record.cls  # it may stand there with its parameters
    if isinstance(record, types.DataclassType) and not cls.__dataclass_params__.eq:
        yield f"{cls.__qualname__} has eq=False: what arrives could not be compared."
    for field in record.fields:
        yield from _type_faults(field.type, f"{path}.{field.name}".lstrip("."), seen)


def _union_faults(union: types.UnionType, path: str) -> Iterator[str]:
    """Nomme deux membres que JSON écrit pareil et que msgspec, lui, accepte ensemble."""
    written: dict[bool, Any] = {}
    for member in map(_understood, union.types):
        for is_text in {isinstance(value, str) for value in _examples(member)}:
            other = written.setdefault(is_text, member)
            if other is not member:
                pair = f"{_name(other)} and {_name(member)}"
                yield f"field {path!r}: the union mixes {pair}, which JSON writes alike."


def _understood(kind: Any) -> Any:
    """Dit ce qu’est un type que msgspec sait convertir et décrit autrement."""
    if isinstance(kind, types.Metadata):  # Annotated[…, Meta(title=…)]
        return _understood(kind.type)
    if isinstance(kind, types.CustomType):
        base = base_of(kind.cls)
        if isinstance(kind.cls, enum.EnumMeta):  # another metaclass, that of TextChoices
            return types.EnumType(kind.cls)  # type: ignore[arg-type]  # it makes Enum classes only
        # freezegun's date says that every date is one; while it is at work, the real one is Custom.
        if base.__module__ == "datetime" and issubclass(base, kind.cls):
            return types.DateType()
    return kind


def _examples(kind: Any) -> Iterable[object]:
    """Donne des valeurs d’un nombre, d’un texte ou d’un choix ; rien pour un autre type."""
    if isinstance(kind, types.EnumType):
        return [member.value for member in kind.cls]
    if isinstance(kind, types.LiteralType):
        return [value for value in kind.values if value is not None]
    plain: dict[Any, Any] = {types.IntType: 0, types.FloatType: 0.0, types.StrType: ""}
    return [plain[type(kind)]] if type(kind) in plain else ()


def _name(kind: Any) -> str:
    if isinstance(kind, types.AnyType):
        return "an unspecified type (Any, an open type parameter, or a container of anything)"
    cls = getattr(kind, "cls", None)
    return cls.__qualname__ if cls else type(kind).__name__.removesuffix("Type").lower()
