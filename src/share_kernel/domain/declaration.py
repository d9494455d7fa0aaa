"""Ce que :func:`register_event` accepte : une classe gelée, un nom, des types qui voyagent.

Certains types passent une conversion sans erreur et changent en route. Ils sont refusés ici,
à l’import, plutôt qu’un jour à la publication.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import inspect as types

from .event_types import WIRE_NAME_LENGTH, is_wire_name

if TYPE_CHECKING:
    from .domain_event import DomainEvent

_STRINGS = (
    types.StrType,
    types.BytesType,
    types.DateTimeType,
    types.DateType,
    types.TimeType,
    types.TimeDeltaType,
    types.UUIDType,
    types.DecimalType,
)
_NUMBERS = (types.IntType, types.FloatType)
_CHOICES = (types.EnumType, types.LiteralType)
_ATOMS = (*_STRINGS, *_NUMBERS, *_CHOICES, types.NoneType, types.BoolType)
_KEYS = (types.StrType, types.IntType, types.UUIDType, types.DateType, *_CHOICES)
_SEQUENCES = (types.ListType, types.VarTupleType, types.SetType, types.FrozenSetType)
_RECORDS = (types.DataclassType, types.NamedTupleType, types.TypedDictType)


def faults(cls: type[DomainEvent], registered: Mapping[str, type[DomainEvent]]) -> Iterator[str]:
    """Nomme ce qui ne va pas dans la déclaration de *cls*, une phrase par faute."""
    if "__dataclass_params__" not in vars(cls):
        yield "it is not a dataclass. Put @dataclass(frozen=True) just below @register_event."
        return
    if not _dataclass_params(cls).frozen:
        yield "an event never changes. Write @dataclass(frozen=True)."
    yield from _class_attribute_faults(cls)
    yield from _name_faults(cls, registered)
    yield from _post_init_faults(cls)
    yield from _field_faults(cls)


def _class_attribute_faults(cls: type[DomainEvent]) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if field.name in ("event_type", "event_version"):
            yield f"{field.name} is a field, it must be a class attribute. Remove its annotation."
    if type(cls.event_version) is not int or cls.event_version < 1:
        yield f"event_version is {cls.event_version!r}, not a whole number from 1."


def _name_faults(
    cls: type[DomainEvent], registered: Mapping[str, type[DomainEvent]]
) -> Iterator[str]:
    name = getattr(cls, "event_type", None)
    if not is_wire_name(name):
        yield (
            f"event_type is {name!r}. Give the event a name in lower case, context.fact, of at "
            f"most {WIRE_NAME_LENGTH} characters, for instance event_type = 'invoice.approved'."
        )
        return
    other = registered.get(cls.event_type)
    if other and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        yield (
            f"the name {name!r} is taken by {other.__module__}.{other.__qualname__}. "
            "Choose another event_type."
        )


def _post_init_faults(cls: type[DomainEvent]) -> Iterator[str]:
    """Sans l’appel au parent, la corrélation et le contrôle de la date seraient perdus."""
    *own_classes, _domain_event, _object = cls.__mro__
    for ancestor in own_classes:
        own = vars(ancestor).get("__post_init__")
        if own and "__post_init__" not in own.__code__.co_names:
            yield f"{ancestor.__qualname__}.__post_init__ must call super().__post_init__() first."


def _field_faults(cls: type[DomainEvent]) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if not field.init:
            yield f"field {field.name!r} has init=False: it would be lost on the way."
    try:
        typing.get_type_hints(cls)
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
    if isinstance(kind, _RECORDS):
        yield from _record_faults(kind, path, seen)
    elif isinstance(kind, types.UnionType):
        yield from _union_faults(kind, path)
        for member in kind.types:
            yield from _type_faults(member, path, seen)
    elif isinstance(kind, types.DictType):
        if not isinstance(kind.key_type, _KEYS):
            yield f"field {path!r}: {_name(kind.key_type)} is not supported as a mapping key."
        yield from _type_faults(kind.value_type, f"{path}[]", seen)
    elif isinstance(kind, types.TupleType):
        for member in kind.item_types:
            yield from _type_faults(member, f"{path}[]", seen)
    elif isinstance(kind, _SEQUENCES):
        yield from _type_faults(kind.item_type, f"{path}[]", seen)
    elif not isinstance(kind, _ATOMS):
        yield f"field {path!r}: {_name(kind)} does not travel in JSON; publish an identifier."


def _record_faults(record: Any, path: str, seen: set[type]) -> Iterator[str]:
    if record.cls in seen:
        return
    seen.add(record.cls)
    if isinstance(record, types.DataclassType) and not _dataclass_params(record.cls).eq:
        yield f"{record.cls.__qualname__} has eq=False: what arrives could not be compared."
    for field in record.fields:
        yield from _type_faults(field.type, f"{path}.{field.name}".lstrip("."), seen)


def _union_faults(union: types.UnionType, path: str) -> Iterator[str]:
    by_shape: dict[str, Any] = {}
    for member in union.types:
        for shape in _json_shapes(member):
            if shape in by_shape:
                pair = f"{_name(by_shape[shape])} and {_name(member)}"
                yield f"field {path!r}: the union mixes {pair}, which JSON writes alike."
            by_shape[shape] = member


def _json_shapes(kind: Any) -> set[str]:
    if isinstance(kind, types.EnumType):
        return {_shape_of(member.value) for member in kind.cls}
    if isinstance(kind, types.LiteralType):
        return set(map(_shape_of, kind.values))
    shapes = {
        "null": (types.NoneType,),
        "boolean": (types.BoolType,),
        "number": _NUMBERS,
        "string": _STRINGS,
        "object": (types.DictType, types.DataclassType, types.TypedDictType),
        "array": (*_SEQUENCES, types.TupleType, types.NamedTupleType),
    }
    return {shape for shape, kinds in shapes.items() if isinstance(kind, kinds)}


def _shape_of(value: object) -> str:
    return "null" if value is None else "string" if isinstance(value, str) else "number"


def _name(kind: Any) -> str:
    if isinstance(kind, types.AnyType):
        return "an unspecified type (Any, or a container without the type of its items)"
    cls = getattr(kind, "cls", None)
    return cls.__qualname__ if cls else type(kind).__name__.removesuffix("Type").lower()


def _dataclass_params(cls: Any) -> Any:  # typeshed does not know this attribute of a class
    return cls.__dataclass_params__
