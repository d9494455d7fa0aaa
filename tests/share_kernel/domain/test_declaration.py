import abc
import enum
import functools
import sys
from collections.abc import Callable, Hashable
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from types import new_class
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    SupportsInt,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import pytest
from django.db import models
from freezegun import freeze_time
from msgspec import Meta

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventDefinitionError,
    PayloadError,
    get_event_class,
    register_event,
)
from src.share_kernel.domain.payload import travelling

T = TypeVar("T")
U = TypeVar("U")
Whole = TypeVar("Whole", bound=int)


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


class Status(models.TextChoices):
    PAID = "paid"


class Priority(models.IntegerChoices):
    LOW = 1


class Rate(Decimal, models.Choices):
    LOW = "5.5"


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


@dataclass(frozen=True)
class Pair(Generic[T]):
    left: T
    right: T


@dataclass(frozen=True, eq=False)
class Loose(Generic[T]):
    value: T


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
            Status,
            Status | Priority | None,
            dict[Priority, list[Status]],
            Pair[Status],
            list[Pair[Decimal]],
            Annotated[int, Meta(title="a count")],
            Annotated[str, Meta(description="a name")] | Annotated[int, Meta(title="a count")],
            dict[Annotated[str, Meta(title="a key")], int],
        ],
        ids=str,
    )
    def test_a_type_that_travels_is_accepted(self, kind: Any) -> None:
        assert declare(fields={"value": kind})

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            (Any, "field 'value': an unspecified type"),
            (list[Any] | None, r"field 'value\[\]': an unspecified type"),
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
            (Literal[1] | float, "the union mixes"),
            (Decimal | str, "does not travel.*Decimal"),
            (UUID | str, "does not travel"),
            (list[int] | set[int], "does not travel"),
            (Mixed, "does not travel.*Mixed"),
            (Rate, "does not travel.*Rate"),
            (Priority | float, "the union mixes Priority and float"),
            (Status | Decimal, "does not travel"),
            (Pair, r"field 'value\.left': an unspecified type \(Any, an open type parameter"),
            (Pair[complex], r"field 'value\.left': complex"),
            (Loose[int], "Loose has eq=False"),
            (Pair[int] | dict[str, int], "does not travel|the union mixes Pair and dict"),
            (Annotated[complex, Meta(title="a number")], "field 'value': complex"),
            (
                Annotated[int, Meta(title="i")] | Annotated[float, Meta(title="f")],
                "the union mixes int and float",
            ),
            (dict[Annotated[float, Meta(title="f")], int], "'value': float is not supported as"),
            (type("Email", (str,), {}), "field 'value': Email does not travel"),
            (type("Birthday", (date,), {}), "field 'value': Birthday does not travel"),
            (Hashable, "field 'value': Hashable does not travel"),
            (SupportsInt, "field 'value': SupportsInt does not travel"),
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


@dataclass(frozen=True)
class Changed(DomainEvent, Generic[T]):
    old: T
    new: list[T]


@dataclass(frozen=True)
class Listed(Changed[list[U]], Generic[U]):
    extra: U | None = None


@dataclass(frozen=True)
class Bounded(Generic[Whole], DomainEvent):  # noqa: PYI059  (readers write it too)
    value: Whole


def child(*bases: Any, **attributes: Any) -> Any:
    """Déclare un événement, dont *bases* sont les parents."""
    namespace = {"event_type": "tests.child", "__module__": __name__} | attributes
    cls: Any = new_class("Child", bases, exec_body=lambda body: body.update(namespace))
    return register_event(dataclass(frozen=True, kw_only=True)(cls))


def comes_back(event: DomainEvent) -> bool:
    return DomainEvent.from_dict(travelling(event)) == event


class TestGenericEvents:
    @pytest.mark.parametrize(
        ("base", "fields"),
        [
            (Changed[int], {"old": 1, "new": [2]}),
            (Changed[Status], {"old": Status.PAID, "new": [Status.PAID]}),
            (Changed[list[Priority]], {"old": [Priority.LOW], "new": [[]]}),
            (Changed[Pair[Status]], {"old": Pair(Status.PAID, Status.PAID), "new": []}),
            (Changed[datetime | None], {"old": None, "new": [datetime(2026, 1, 1)]}),  # noqa: DTZ001
            (Listed[Status], {"old": [Status.PAID], "new": [], "extra": Status.PAID}),
            (Bounded[int], {"value": 1}),
            (Bounded, {"value": 1}),
        ],
        ids=str,
    )
    def test_an_event_that_gives_the_parameter_travels(
        self, base: Any, fields: dict[str, Any]
    ) -> None:
        assert comes_back(child(base)(**fields))

    @pytest.mark.parametrize(
        ("base", "fields", "message"),
        [
            (Changed[int], {"old": 1, "new": ["2"]}, r"field 'new' is \['2'\]: Expected `int`"),
            (Changed[list[int]], {"old": (1,), "new": []}, r"field 'old' .* would come back as \["),
            (Changed[Status], {"old": "paid", "new": ["x"]}, "field 'new' .*: Invalid enum value"),
        ],
        ids=str,
    )
    def test_a_value_of_another_type_is_refused_and_named(
        self, base: Any, fields: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(PayloadError, match=f"cannot travel: {message}"):
            travelling(child(base)(**fields))

    @pytest.mark.parametrize("base", [Changed, Listed], ids=str)
    def test_an_event_that_leaves_the_parameter_open_is_refused(self, base: Any) -> None:
        with pytest.raises(EventDefinitionError, match="Child: field 'old.*an open type parameter"):
            child(base)

    def test_a_parameter_that_does_not_travel_is_refused(self) -> None:
        with pytest.raises(EventDefinitionError, match="field 'old': complex does not travel"):
            child(Changed[complex])

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="this syntax came with Python 3.12")
    @pytest.mark.parametrize("start", ["", "from __future__ import annotations\n"])
    def test_the_syntax_of_python_3_12_is_understood(
        self, start: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = """
@dataclass(frozen=True)
class Moved[Place](DomainEvent):
    origin: Place
    steps: list[Place]

@register_event
@dataclass(frozen=True)
class ParcelMoved(Moved[Status]):
    event_type = "tests.parcel_moved"
"""
        exec(compile(start + source, __name__, "exec", dont_inherit=True), globals())

        moved: Any = globals()["ParcelMoved"]

        assert comes_back(moved(origin=Status.PAID, steps=[Status.PAID]))
        with pytest.raises(PayloadError, match="field 'steps' is"):
            travelling(moved(origin=Status.PAID, steps=(Status.PAID,)))


class Plain:
    def greet(self) -> str:
        return "hello"


class Slots:
    __slots__ = ()


@dataclass(frozen=True)
class Fields:
    amount: int = 3


class Contract(Protocol):
    def greet(self) -> str: ...


class Abstract(abc.ABC):
    @abc.abstractmethod
    def greet(self) -> str: ...


@dataclass(frozen=True)
class AbstractEvent(DomainEvent, abc.ABC):
    order_id: str = "o-1"

    @abc.abstractmethod
    def greet(self) -> str: ...


class Mute:
    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True)
class MuteFields:
    amount: int = 3

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(self.amount)


class MuteContract(Protocol):
    def __post_init__(self) -> None: ...


@dataclass(frozen=True)
class MuteEvent(DomainEvent):
    def __post_init__(self) -> None:
        pass


class Careful:
    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]


class Explicit:
    def __post_init__(self) -> None:
        DomainEvent.__post_init__(self)  # type: ignore[arg-type]


class Cautious:
    def __post_init__(self) -> None:
        getattr(super(), "__post_init__", lambda: None)()


def logged(function: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(function)
    def wrapper(self: Any) -> None:
        function(self)

    return wrapper


class Wrapped:
    @logged
    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]


class WrappedMute:
    @logged
    def __post_init__(self) -> None:
        pass


def greet(self: object) -> str:
    return "hello"


class TestAncestors:
    @pytest.mark.parametrize("mixin", [Plain, Slots, Fields, Contract, Abstract])
    def test_a_mixin_stands_on_either_side(self, mixin: type) -> None:
        for bases in ((mixin, DomainEvent), (DomainEvent, mixin)):
            event = child(*bases, greet=greet)()

            assert comes_back(event)
            assert event.correlation_id == event.event_id

    @pytest.mark.parametrize("mixin", [Careful, Explicit, Cautious, Wrapped])
    def test_a_mixin_that_calls_its_parent_is_accepted(self, mixin: type) -> None:
        event = child(mixin, DomainEvent)()

        assert event.correlation_id == event.event_id

    @pytest.mark.parametrize("mixin", [Mute, MuteFields, MuteContract, WrappedMute])
    def test_a_mixin_that_forgets_its_parent_is_refused_and_named(self, mixin: type) -> None:
        with pytest.raises(
            EventDefinitionError,
            match=rf"Child: {mixin.__name__}\.__post_init__ must call super\(\)",
        ):
            child(mixin, DomainEvent)

    @pytest.mark.parametrize("mixin", [Mute, MuteFields, Careful])
    def test_a_mixin_whose_post_init_would_never_run_is_refused(self, mixin: type) -> None:
        name = mixin.__name__
        with pytest.raises(
            EventDefinitionError,
            match=rf"Child: {name}\.__post_init__ would never run. Name {name} before DomainEvent",
        ):
            child(DomainEvent, mixin)

    def test_an_event_in_between_that_forgets_its_parent_is_refused_and_named(self) -> None:
        with pytest.raises(
            EventDefinitionError, match=r"Child: MuteEvent\.__post_init__ must call"
        ):
            child(MuteEvent)

        def calls_its_parent(self: Any) -> None:
            MuteEvent.__post_init__(self)

        with pytest.raises(
            EventDefinitionError, match=r"Child: MuteEvent\.__post_init__ must call"
        ):
            child(MuteEvent, __post_init__=calls_its_parent)

    def test_a_post_init_without_code_to_read_is_trusted(self) -> None:
        assert child(DomainEvent, __post_init__=functools.partialmethod(DomainEvent.__post_init__))

    def test_an_abstract_event_in_between_is_a_parent_like_another(self) -> None:
        assert comes_back(child(AbstractEvent, greet=greet)(order_id="o-2"))


class TestFrozenClock:
    @pytest.mark.parametrize("kind", ["datetime", "list[date]", "datetime | None"])
    def test_a_class_declared_while_time_is_frozen_is_accepted(self, kind: str) -> None:
        with freeze_time("2020-02-03"):
            assert declare(fields={"value": kind}, __module__=__name__)

    @pytest.mark.parametrize("kind", [datetime, dict[date, int], datetime | None], ids=str)
    def test_a_class_declared_before_is_accepted_while_time_is_frozen(self, kind: Any) -> None:
        with freeze_time("2020-02-03"):
            assert declare(fields={"value": kind})
