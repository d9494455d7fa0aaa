import enum
from dataclasses import InitVar, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, TypedDict
from uuid import UUID

import pytest

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventDefinitionError,
    get_event_class,
    register_event,
)


def declare(name: str = "Declared", **attributes: Any) -> type[DomainEvent]:
    """Déclare une classe d’événement dont les champs sont les annotations données."""
    annotations = attributes.pop("fields", {})
    namespace = {"event_type": "tests.declared", "__annotations__": annotations} | attributes
    return register_event(
        dataclass(frozen=True, kw_only=True)(type(name, (DomainEvent,), namespace))
    )


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


class Mixed(enum.Enum):
    A = 1
    B = "b"


@dataclass
class Line:
    price: Decimal


@dataclass
class Holder:
    what: complex


@dataclass(eq=False)
class Incomparable:
    price: int


class Point(NamedTuple):
    x: int


class Options(TypedDict):
    colour: str


class TestShape:
    def test_a_class_without_dataclass_is_refused(self) -> None:
        class Bare(DomainEvent):
            event_type = "tests.bare"

        with pytest.raises(EventDefinitionError, match=r"Bare: it is not a dataclass\. Put @data"):
            register_event(Bare)

    def test_a_class_that_is_not_an_event_is_refused(self) -> None:
        with pytest.raises(EventDefinitionError, match="Line does not inherit from DomainEvent"):
            register_event(Line)  # type: ignore[type-var]

    def test_a_post_init_that_forgets_its_parent_is_refused(self) -> None:
        @dataclass(frozen=True)
        class Forgetful(DomainEvent):
            event_type = "tests.forgetful"

            def __post_init__(self) -> None:
                pass

        with pytest.raises(EventDefinitionError, match=r"must call super\(\)\.__post_init__\(\)"):
            register_event(Forgetful)

    def test_a_post_init_that_calls_its_parent_is_accepted(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Careful(DomainEvent):
            event_type = "tests.careful"
            amount: int = 1

            def __post_init__(self) -> None:
                super().__post_init__()
                if self.amount < 0:
                    raise ValueError(self.amount)

        event = Careful()
        assert event.correlation_id == event.event_id

    def test_slots_are_accepted(self) -> None:
        @register_event
        @dataclass(frozen=True, slots=True)
        class Slotted(DomainEvent):
            event_type = "tests.slotted"
            amount: int = 1

        event = Slotted()
        assert DomainEvent.from_dict(event.to_dict()) == event

    @pytest.mark.parametrize("attribute", ["event_type", "event_version"])
    def test_an_annotated_class_attribute_is_refused(self, attribute: str) -> None:
        value = "tests.declared" if attribute == "event_type" else 1
        with pytest.raises(EventDefinitionError, match=f"{attribute} is a field.*Remove"):
            declare("Annotated", **{"fields": {attribute: type(value)}, attribute: value})

    def test_a_class_variable_may_be_annotated_as_such(self) -> None:
        assert declare(fields={"event_type": ClassVar[str]})

    def test_a_field_outside_init_is_refused(self) -> None:
        with pytest.raises(EventDefinitionError, match="field 'total' has init=False"):
            declare(fields={"total": int}, total=field(init=False, default=1))

    @pytest.mark.parametrize("version", [0, -1, "1", True, 1.0])
    def test_a_version_is_a_whole_number_from_one(self, version: Any) -> None:
        with pytest.raises(EventDefinitionError, match="event_version is .*not a whole number"):
            declare(event_version=version)


class TestName:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            "declared",
            "Tests.Declared",
            "tests.declared ",
            "tests..declared",
            ".a",
            "a.",
            "é.à",
            "tests-declared",
            "a." + "b" * 200,
            3,
            None,
        ],
    )
    def test_a_malformed_name_is_refused(self, name: Any) -> None:
        with pytest.raises(EventDefinitionError, match=r"event_type is .* context\.fact"):
            declare(event_type=name)

    def test_a_missing_name_is_refused(self) -> None:
        @dataclass(frozen=True)
        class Nameless(DomainEvent):
            pass

        with pytest.raises(EventDefinitionError, match="event_type is None"):
            register_event(Nameless)

    def test_a_name_taken_by_another_class_is_refused_with_both_names(self) -> None:
        declare("First")

        with pytest.raises(EventDefinitionError, match=r"Second: .*taken by \S+First"):
            declare("Second")

    def test_the_same_class_declared_again_replaces_the_former(self) -> None:
        declare("Reloaded")
        second = declare("Reloaded")

        assert get_event_class("tests.declared") is second


class TestFieldTypes:
    @pytest.mark.parametrize(
        "kind",
        [
            Line,
            Point,
            Options,
            Colour,
            Size,
            int | str | None,
            list[Line],
            dict[str, list[Line]],
            dict[int, str],
            dict[UUID, str],
            dict[date, int],
            dict[Colour, int],
            tuple[int, str],
            tuple[int, ...],
            set[int],
            frozenset[UUID],
            date | None,
            Line | None,
            list[int] | dict[str, int] | str | bool | None,
        ],
        ids=str,
    )
    def test_a_type_that_travels_is_accepted(self, kind: Any) -> None:
        assert declare(fields={"value": kind})

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            (Any, "field 'value': an unspecified type"),
            (list, r"field 'value\[\]': an unspecified type"),
            (dict, "an unspecified type"),
            (tuple, "an unspecified type"),
            (object, "field 'value': object does not travel in JSON"),
            (complex, "field 'value': complex does not travel in JSON"),
            (bytearray, "field 'value': bytearray does not travel in JSON"),
            (list[complex], r"field 'value\[\]': complex"),
            (Holder, r"field 'value\.what': complex"),
            (tuple[int, complex], r"field 'value\[\]': complex"),
            (Incomparable, "Incomparable has eq=False"),
            (dict[float, int], "field 'value': float is not supported as a mapping key"),
            (dict[bool, int], "bool is not supported as a mapping key"),
            (dict[tuple[int, int], int], "tuple is not supported as a mapping key"),
            (int | float, "the union mixes int and float, which JSON writes alike"),
            (float | int | None, "which JSON writes alike"),
            (Size | float, "the union mixes"),
            (Decimal | str, "does not travel.*Decimal"),
            (UUID | str, "does not travel"),
            (list[int] | set[int], "does not travel"),
            (Mixed, "does not travel.*Mixed"),
        ],
        ids=str,
    )
    def test_a_type_that_does_not_is_refused_and_named(self, kind: Any, message: str) -> None:
        with pytest.raises(EventDefinitionError, match=message):
            declare(fields={"value": kind})

    def test_an_annotation_out_of_reach_is_refused_with_the_remedy(self) -> None:
        with pytest.raises(EventDefinitionError, match="'Nowhere'.*not under TYPE_CHECKING"):
            declare(fields={"value": "Nowhere"})

    def test_a_record_that_holds_itself_is_accepted(self) -> None:
        assert declare(fields={"root": Node})

    def test_an_init_var_is_refused(self) -> None:
        with pytest.raises(EventDefinitionError):
            declare(fields={"secret": InitVar[str]})


@dataclass
class Node:
    children: list["Node"]
