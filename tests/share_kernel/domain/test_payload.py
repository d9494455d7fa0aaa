"""Les valeurs de Django et des tests voyagent ; une valeur refusée l’est sous son vrai nom."""

import enum
import json
from abc import ABCMeta
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Annotated, Any, Generic, NamedTuple, Self, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import models
from django.utils.datastructures import MultiValueDict
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from freezegun import freeze_time
from msgspec import Meta

from src.share_kernel.domain.domain_event import DomainEvent, PayloadError, register_event
from src.share_kernel.domain.event_types import restore, snapshot
from src.share_kernel.domain.payload import travelling

T = TypeVar("T")
PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    before = snapshot()
    yield
    restore(before)


def holding(kind: Any) -> type[DomainEvent]:
    """Déclare un événement dont le champ *value* est entre deux autres."""
    fields = [("before", str), ("value", kind), ("after", date)]
    cls = make_dataclass(
        "Holding",
        fields,
        bases=(DomainEvent,),
        namespace={"event_type": "tests.holding", "__module__": __name__},
        frozen=True,
    )
    return register_event(cls)


def trip(kind: Any, value: object) -> Any:
    """Fait voyager *value* comme la publication le fait, et renvoie ce qui arrive."""
    event: Any = holding(kind)(before="a", value=value, after=date(2026, 1, 1))  # type: ignore[call-arg]
    arrived: Any = DomainEvent.from_dict(json.loads(json.dumps(travelling(event))))
    return arrived.value


class Status(models.TextChoices):
    PAID = "paid", gettext_lazy("Paid")
    OPEN = "open"


class Priority(models.IntegerChoices):
    LOW = 1
    HIGH = 2


class AbstractEnumMeta(ABCMeta, enum.EnumMeta):
    pass


class Channel(enum.Enum, metaclass=AbstractEnumMeta):
    WEB = "web"


Built = models.TextChoices("Built", "ONE TWO")


class TestChoices:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (Status, Status.PAID),
            (Priority, Priority.HIGH),
            (Channel, Channel.WEB),
            (Built, Built.TWO),  # type: ignore[attr-defined]
            (Status | None, Status.OPEN),
            (Status | None, None),
            (Status | int, 3),
            (list[Status], [Status.PAID, Status.OPEN]),
            (tuple[Priority, ...], (Priority.LOW,)),
            (set[Status], {Status.PAID}),
            (dict[Status, Priority], {Status.PAID: Priority.LOW}),
            (dict[Priority, str], {Priority.HIGH: "x"}),
        ],
        ids=str,
    )
    def test_a_member_of_any_metaclass_comes_back_itself(self, kind: Any, value: object) -> None:
        arrived = trip(kind, value)

        assert arrived == value
        assert type(arrived) is type(value)

    def test_what_the_database_gave_comes_back_a_member(self) -> None:
        assert trip(Status, "paid") is Status.PAID
        assert trip(Priority, 2) is Priority.HIGH

    def test_a_member_in_a_field_of_text_arrives_as_text(self) -> None:
        assert type(trip(str, Status.PAID)) is str
        assert type(trip(int, Priority.LOW)) is int

    def test_a_value_that_is_no_member_is_refused_and_named(self) -> None:
        with pytest.raises(PayloadError, match="field 'value' is 'lost': Invalid enum value"):
            trip(Status, "lost")

    def test_a_member_is_written_by_its_value_beside_a_subclass_too(self) -> None:
        class Code(enum.StrEnum):
            LOUD = "LOUD"

            def __new__(cls, value: str) -> Self:
                member = str.__new__(cls, value.lower())
                member._value_ = value
                return member

        cls: Any = holding(Code)

        assert cls(before="a", value=Code.LOUD, after=date.min).to_dict()["value"] == "LOUD"
        assert cls(before=Text("a"), value=Code.LOUD, after=date.min).to_dict()["value"] == "LOUD"

    def test_a_member_of_another_scalar_is_written_in_json(self) -> None:
        class Rate(Decimal, models.Choices):
            LOW = "5.5"

        class Holiday(date, enum.Enum):
            NEW_YEAR = 2026, 1, 1

        assert trip(Decimal, Rate.LOW) == Decimal("5.5")
        assert trip(date, Holiday.NEW_YEAR) == date(2026, 1, 1)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "what the page shows"


class Count(int):
    def __int__(self) -> int:
        return 99


class Ratio(float):
    pass


class Raw(bytes):
    pass


class Money(Decimal):
    pass


class Moment(datetime):
    pass


class Day(date):
    pass


class Hour(time):
    pass


class Lasting(timedelta):
    pass


class Ident(UUID):
    pass


SUBCLASSED = [
    (str, mark_safe("<b>")),
    (str, Text("x")),
    (int, Count(3)),
    (float, Ratio(-0.5)),
    (bytes, Raw(b"x")),
    (Decimal, Money("1.50")),
    (datetime, Moment(2026, 1, 1, 12, 30, 15, 999, tzinfo=PARIS)),
    (datetime, Moment(2026, 1, 1)),
    (date, Day(2026, 1, 1)),
    (time, Hour(1, 2, 3, 4)),
    (time, Hour(1, tzinfo=UTC)),
    (timedelta, Lasting(-1, 3, 5)),
    (UUID, Ident(int=3)),
]


@dataclass(frozen=True)
class Record(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class Slotted:
    at: datetime
    name: str = ""


class Pair(NamedTuple):
    left: str
    right: int


class TestSubclasses:
    @pytest.mark.parametrize(("kind", "value"), SUBCLASSED, ids=repr)
    def test_a_subclass_of_a_scalar_arrives_as_its_base(self, kind: Any, value: object) -> None:
        arrived = trip(kind, value)

        assert arrived == value
        assert type(arrived) is kind

    @pytest.mark.parametrize(("kind", "value"), SUBCLASSED, ids=repr)
    def test_so_it_does_inside_what_holds_it(self, kind: Any, value: object) -> None:
        assert trip(list[kind], [value]) == [value]
        assert trip(list[list[kind]], [[value]]) == [[value]]
        assert trip(tuple[kind, int], (value, 1)) == (value, 1)
        assert trip(frozenset[kind], frozenset([value])) == {value}
        assert trip(dict[str, list[kind]], {mark_safe("k"): [value]}) == {"k": [value]}
        assert trip(Record[kind], Record(value)) == Record(value)

    @pytest.mark.parametrize(
        ("kind", "key"),
        [(str, mark_safe("k")), (int, Count(3)), (date, Day(2026, 1, 1)), (UUID, Ident(int=1))],
        ids=repr,
    )
    def test_so_it_does_as_a_key(self, kind: Any, key: object) -> None:
        arrived = trip(dict[kind, int], {key: 1})

        assert arrived == {key: 1}
        assert type(next(iter(arrived))) is kind

    def test_a_payload_holds_nothing_but_json(self) -> None:
        event: Any = holding(dict[int, list[str]])(  # type: ignore[call-arg]
            before=Text("a"), value={Count(3): [Text("x")]}, after=Day(2026, 1, 1)
        )

        data = event.to_dict()

        assert data["value"] == {"3": ["x"]}
        assert json.loads(json.dumps(data)) == data

    def test_what_is_published_is_left_alone(self) -> None:
        inner = Record(Text("x"))
        event: Any = holding(Record[str])(before=Text("a"), value=inner, after=Day(2026, 1, 1))  # type: ignore[call-arg]

        event.to_dict()

        assert type(event.before) is Text
        assert event.value is inner
        assert type(inner.value) is Text

    def test_a_slotted_record_and_a_named_tuple_travel(self) -> None:
        slotted = Slotted(Moment(2026, 1, 1), Text("x"))

        assert trip(Slotted, slotted) == slotted
        assert trip(Pair, Pair(Text("a"), 1)) == Pair("a", 1)

    @pytest.mark.parametrize(
        ("kind", "value", "message"),
        [
            (str, gettext_lazy("Paid"), "__proxy__ is unsupported"),
            (str, SimpleLazyObject(lambda: "x"), "SimpleLazyObject is unsupported"),
            (str, Status, "unsupported"),
            (str, Record, "unsupported"),
            (float, Ratio("nan"), "Expected `float`"),
            (Decimal, Money("sNaN"), "not equal to it"),
            (int, Ratio(1.5), "Expected `int`"),
            (int, True, "Expected `int`, got `bool`"),
            (list[str], [Text("x"), gettext_lazy("Paid")], "__proxy__ is unsupported"),
            (dict[str, int], {mark_safe("\ud800"): 1}, "surrogates not allowed"),
        ],
        ids=lambda value: repr(value).partition(" at 0x")[0],  # the same in each process
    )
    def test_what_has_no_base_in_json_is_refused_and_named(
        self, kind: Any, value: object, message: str
    ) -> None:
        with pytest.raises(PayloadError, match=f"cannot travel: field 'value' is .*{message}"):
            trip(kind, value)


class TestContainers:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (dict[str, int], defaultdict(int, a=1)),
            (dict[str, int], OrderedDict(a=1)),
            (dict[str, int], Counter("aab")),
            (dict[str, list[str]], MultiValueDict({"a": ["b", "c"]})),
            (list[int], type("Numbers", (list,), {})([1, 2])),
            (tuple[str, int], Pair("a", 1)),
            (set[int], frozenset({1})),
        ],
        ids=repr,
    )
    def test_a_container_equal_to_the_declared_one_travels(self, kind: Any, value: object) -> None:
        assert trip(kind, value) == value

    @pytest.mark.parametrize(
        ("kind", "value"),
        [(list[int], (1,)), (tuple[int, ...], [1]), (list[int], deque([1])), (list[int], range(2))],
        ids=repr,
    )
    def test_another_container_is_refused_and_named(self, kind: Any, value: object) -> None:
        with pytest.raises(PayloadError, match="cannot travel: field 'value' is"):
            trip(kind, value)


REPEATED = datetime(2026, 10, 25, 2, 30, tzinfo=PARIS)
MISSING = datetime(2026, 3, 29, 2, 30, tzinfo=PARIS)
MOMENTS = [
    REPEATED,
    REPEATED.replace(fold=1),
    MISSING,
    MISSING.replace(fold=1),
    datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York")),
    datetime(2026, 4, 5, 1, 45, tzinfo=ZoneInfo("Australia/Lord_Howe"), fold=1),
    Moment(2026, 10, 25, 2, 30, tzinfo=PARIS),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=2))),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=2))),
]


def instants(value: Any) -> Any:
    return value - datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(NamedTuple):
    at: datetime


class TestInstants:
    @pytest.mark.parametrize("moment", MOMENTS, ids=repr)
    def test_a_date_is_compared_by_its_instant(self, moment: datetime) -> None:
        assert instants(trip(datetime, moment)) == instants(moment)
        assert instants(trip(datetime | None, moment)) == instants(moment)

    @pytest.mark.parametrize("moment", MOMENTS, ids=repr)
    def test_so_it_is_inside_what_holds_it(self, moment: datetime) -> None:
        assert instants(trip(list[datetime], [moment])[0]) == instants(moment)
        assert instants(trip(list[list[datetime]], [[moment]])[0][0]) == instants(moment)
        assert instants(trip(tuple[datetime, int], (moment, 1))[0]) == instants(moment)
        assert instants(trip(dict[str, datetime], {"k": moment})["k"]) == instants(moment)
        assert instants(trip(set[datetime], {moment}).pop()) == instants(moment)
        assert instants(trip(Record[datetime], Record(moment)).value) == instants(moment)
        assert instants(trip(Slotted, Slotted(moment)).at) == instants(moment)
        assert instants(trip(Schedule, Schedule(moment)).at) == instants(moment)

    def test_comparing_leaves_what_is_published_alone(self) -> None:
        record = Record(REPEATED)

        trip(Record[datetime], record)

        assert record.value is REPEATED

    def test_a_date_beside_a_fault_is_not_accused(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Booked(DomainEvent):
            event_type = "tests.booked"
            at: datetime
            seats: tuple[int, ...]

        with pytest.raises(PayloadError, match=r"cannot travel: field 'seats' is \[1\]"):
            travelling(Booked(at=REPEATED, seats=[1]))  # type: ignore[arg-type]

    def test_a_date_without_a_zone_is_not_an_instant(self) -> None:
        local = REPEATED.replace(tzinfo=None)

        assert trip(datetime, local) == local
        assert trip(tuple[datetime, datetime], (local, REPEATED))[0] == local

    def test_an_offset_that_json_cuts_is_refused_and_named(self) -> None:
        with pytest.raises(PayloadError, match=r"field 'value' .* and would come back as"):
            trip(datetime, datetime(1900, 1, 1, tzinfo=PARIS))  # 9 minutes and 21 seconds


@dataclass(frozen=True)
class Span:
    at: datetime


class Odd(enum.Enum):
    """Comme NaN, un membre qui n’est égal à rien."""

    ONE = "one"

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 1


class Quarrelsome(Text):
    __slots__ = ()
    __hash__ = Text.__hash__

    def __ne__(self, other: object) -> bool:
        return True


class Touchy(Money):
    __hash__ = Money.__hash__

    def __eq__(self, other: object) -> bool:
        raise TypeError("cannot compare money with anything")


class TestOddComparisons:
    @pytest.mark.parametrize(("kind", "value"), [(Odd, Odd.ONE), (str, Quarrelsome("x"))])
    def test_the_field_at_fault_is_named_and_not_an_odd_one(self, kind: Any, value: object) -> None:
        fields = [("value", kind), ("seats", tuple[int, ...])]
        namespace = {"event_type": "tests.odd"}
        cls: Any = register_event(
            make_dataclass("Odds", fields, bases=(DomainEvent,), namespace=namespace, frozen=True)
        )

        with pytest.raises(PayloadError, match=r"cannot travel: field 'seats' is \[1\] and would"):
            travelling(cls(value=value, seats=[1]))
        with pytest.raises(PayloadError, match="cannot travel: field 'seats' is 'none': Expected"):
            travelling(cls(value=value, seats="none"))

    def test_a_value_that_refuses_to_be_compared_is_named(self) -> None:
        with pytest.raises(PayloadError, match="cannot travel: field 'value' is"):
            trip(Decimal, Touchy(1))

    def test_a_field_left_out_of_comparison_may_change(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Loose(DomainEvent):
            event_type = "tests.loose"
            at: datetime
            tags: list[str] = field(compare=False)
            seats: tuple[int, ...] = ()

        assert travelling(Loose(at=REPEATED, tags=("a",)))["tags"] == ["a"]  # type: ignore[arg-type]
        with pytest.raises(PayloadError, match="field 'seats' is"):
            travelling(Loose(at=REPEATED, tags=("a",), seats=[1]))  # type: ignore[arg-type]

    def test_an_enumeration_of_records_keeps_its_members(self) -> None:
        class Season(Span, enum.Enum):
            AUTUMN = REPEATED

        with pytest.raises(PayloadError, match="field 'value' is .* would come back as"):
            trip(Span, Season.AUTUMN)

        assert Season.AUTUMN.at is REPEATED

    def test_a_value_that_its_own_event_changes_is_named(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Doubled(DomainEvent):
            event_type = "tests.doubled"
            price: int

            def __post_init__(self) -> None:
                super().__post_init__()
                object.__setattr__(self, "price", self.price * 2)

        with pytest.raises(PayloadError, match="field 'price' is 4 and would come back as 8"):
            travelling(Doubled(price=2))

    def test_an_event_that_refuses_what_comes_back_says_why(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Bounded(DomainEvent):
            event_type = "tests.bounded"
            price: int

            def __post_init__(self) -> None:
                super().__post_init__()
                if self.price < 0:
                    raise ValueError("no price under 0")

        event = Bounded(price=1)
        object.__setattr__(event, "price", -1)

        with pytest.raises(PayloadError, match="cannot travel: no price under 0"):
            travelling(event)


Name = Annotated[str, Meta(max_length=3, title="a name")]


class TestAnnotated:
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (Annotated[int, Meta(ge=0)], 3),
            (Annotated[str, "a comment"], "x"),
            (Name, Text("abc")),
            (Name | None, None),
            (list[Name], ["a"]),
            (dict[Name, Annotated[Status, Meta(description="paid or not")]], {"a": Status.PAID}),
        ],
        ids=str,
    )
    def test_an_annotated_type_travels(self, kind: Any, value: object) -> None:
        assert trip(kind, value) == value

    @pytest.mark.parametrize(
        ("kind", "value"), [(Annotated[int, Meta(ge=0)], -1), (list[Name], ["abcd"])], ids=str
    )
    def test_its_limits_are_held_at_publication(self, kind: Any, value: object) -> None:
        with pytest.raises(PayloadError, match="field 'value' is .*: Expected"):
            trip(kind, value)


FROZEN_MODULE = """
from dataclasses import dataclass
from datetime import date, datetime
from src.share_kernel.domain.domain_event import DomainEvent, register_event

@dataclass(frozen=True)
class Slot:
    start: datetime
    days: list[date]

@register_event
@dataclass(frozen=True)
class Planned(DomainEvent):
    event_type = "tests.planned"
    at: datetime
    day: date
    slot: Slot
    until: datetime | None

def planned():
    now, today = datetime.now(), date.today()
    return Planned(at=now, day=today, slot=Slot(now, [today]), until=now)
"""


def imported(source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Importe un module, qui reste connu le temps du test."""
    module = ModuleType("planned_module")
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    exec(compile(source, module.__name__, "exec", dont_inherit=True), vars(module))
    return module


class TestFrozenClock:
    @pytest.mark.parametrize("start", ["", "from __future__ import annotations\n"])
    def test_a_class_declared_while_time_is_frozen_works_then_and_after(
        self, start: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with freeze_time("2020-02-03 04:05:06"):
            module = imported(start + FROZEN_MODULE, monkeypatch)
            event = module.planned()
            data = travelling(event)
            assert DomainEvent.from_dict(data) == event

        assert data["at"] == "2020-02-03T04:05:06"
        assert data["slot"] == {"start": "2020-02-03T04:05:06", "days": ["2020-02-03"]}
        assert DomainEvent.from_dict(data) == event
        assert travelling(module.planned())

    def test_a_class_declared_before_works_while_time_is_frozen(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = imported(FROZEN_MODULE, monkeypatch)
        before = module.planned()

        with freeze_time("2020-02-03 04:05:06"):
            event = module.planned()
            assert DomainEvent.from_dict(travelling(event)) == event
            assert DomainEvent.from_dict(travelling(before)) == before

    def test_a_class_registered_late_works_with_dates_as_keys(self) -> None:
        @dataclass(frozen=True)
        class Late(DomainEvent):
            event_type = "tests.late"
            table: dict[date, int]

        with freeze_time("2020-02-03"):
            register_event(Late)
            assert travelling(Late(table={datetime.now(UTC).date(): 1}))["table"] == {
                "2020-02-03": 1
            }

    @pytest.mark.parametrize("kind", [datetime, datetime | None, list[datetime]], ids=str)
    def test_what_the_clock_gives_arrives_as_a_true_date(self, kind: Any) -> None:
        with freeze_time("2026-10-25 00:30", tz_offset=0):
            now = datetime.now(PARIS)
        arrived = trip(kind, [now] if kind == list[datetime] else now)

        assert type(arrived[0] if isinstance(arrived, list) else arrived) is datetime
