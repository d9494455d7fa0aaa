"""Tout ce que la publication accepte revient identique, au type près."""

import enum
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from src.share_kernel.domain.domain_event import DomainEvent, PayloadError, register_event
from src.share_kernel.domain.payload import travelling


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: Literal["EUR", "CHF"]


class Point(NamedTuple):
    x: int
    y: float


class Options(TypedDict):
    colour: Colour


@dataclass(frozen=True)
class Everything(DomainEvent):
    """Un champ de chaque type admis."""

    event_type = "tests.everything"

    text: str
    flag: bool
    whole: int
    real: float
    raw: bytes
    at: datetime
    local: datetime
    day: date
    hour: time
    lasting: timedelta
    ident: UUID
    exact: Decimal
    colour: Colour
    size: Size
    money: Money
    point: Point
    options: Options
    maybe: Money | None
    either: int | str | None
    pair: tuple[int, Decimal]
    many: tuple[date, ...]
    items: list[Money]
    unique: set[UUID]
    fixed: frozenset[Decimal]
    by_text: dict[str, Money]
    by_number: dict[int, Decimal]
    by_ident: dict[UUID, str]
    by_day: dict[date, int]
    by_colour: dict[Colour, int]
    nested: dict[str, list[dict[int, Money]]] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_event(Everything)
    register_event(Simple)


texts = st.text(st.characters(exclude_categories=["Cs"]))
finite = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
times = st.datetimes(timezones=st.just(UTC))
monies = st.builds(Money, amount=decimals, currency=st.sampled_from(["EUR", "CHF"]))

everything = st.builds(
    Everything,
    text=texts,
    flag=st.booleans(),
    whole=st.integers(),
    real=finite,
    raw=st.binary(),
    at=times,
    local=st.datetimes(),
    day=st.dates(),
    hour=st.times(),
    lasting=st.timedeltas(),
    ident=st.uuids(),
    exact=decimals,
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    money=monies,
    point=st.builds(Point, x=st.integers(), y=finite),
    options=st.fixed_dictionaries({"colour": st.sampled_from(Colour)}),
    maybe=st.none() | monies,
    either=st.none() | st.integers() | texts,
    pair=st.tuples(st.integers(), decimals),
    many=st.lists(st.dates(), max_size=3).map(tuple),
    items=st.lists(monies, max_size=3),
    unique=st.sets(st.uuids(), max_size=3),
    fixed=st.frozensets(decimals, max_size=3),
    by_text=st.dictionaries(texts, monies, max_size=3),
    by_number=st.dictionaries(st.integers(), decimals, max_size=3),
    by_ident=st.dictionaries(st.uuids(), texts, max_size=3),
    by_day=st.dictionaries(st.dates(), st.integers(), max_size=3),
    by_colour=st.dictionaries(st.sampled_from(Colour), st.integers(), max_size=2),
    nested=st.dictionaries(
        texts, st.lists(st.dictionaries(st.integers(), monies, max_size=2), max_size=2), max_size=2
    ),
    tenant_id=st.none() | texts,
    occurred_at=times,
    causation_id=st.none() | st.uuids(),
)


def same_types(left: Any, right: Any) -> bool:
    """Compare aussi les types : ``1 == 1.0 == True`` ne suffit pas."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return all(
            same_types(key, other) and same_types(left[key], right[other])
            for key, other in zip(left, right, strict=True)
        )
    if isinstance(left, list | tuple):
        return all(map(same_types, left, right))
    if hasattr(left, "__dataclass_fields__"):
        return same_types(vars(left), vars(right))
    return bool(left == right)


def through_json(data: dict[str, Any]) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


def through_kombu(data: dict[str, Any]) -> Any:
    return loads(dumps(data))


@given(everything)
def test_an_event_comes_back_equal_and_of_the_same_types(event: Everything) -> None:
    data = travelling(event)

    for arrived in (through_json(data), through_kombu(data), data):
        rebuilt = DomainEvent.from_dict(arrived)
        assert rebuilt == event
        assert same_types(rebuilt, event)


@dataclass(frozen=True)
class Simple(DomainEvent):
    event_type = "tests.simple"

    real: float = 0.0
    whole: int = 0
    text: str = ""
    exact: Decimal = Decimal(0)
    items: list[int] = field(default_factory=list)
    pair: tuple[int, ...] = ()
    table: dict[str, str] = field(default_factory=dict)
    at: datetime | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"real": math.nan}, "field 'real' is nan"),
        ({"real": math.inf}, "field 'real' is inf"),
        ({"real": "3"}, "field 'real' is '3': Expected `float`, got `str`$"),
        ({"whole": 1.5}, "field 'whole' is 1.5"),
        ({"whole": True}, "field 'whole' is True: Expected `int`, got `bool`"),
        ({"text": 3}, "field 'text' is 3: Expected `str`, got `int`"),
        ({"text": "\ud800"}, r"field 'text' is '\\ud800': .*surrogates not allowed"),
        ({"text": object()}, "field 'text' is <object"),
        ({"exact": Decimal("NaN")}, "field 'exact' is Decimal"),
        ({"exact": Decimal("sNaN")}, "field 'exact' is Decimal.*'sNaN'.*not equal to it"),
        ({"items": (1, 2)}, r"field 'items' is \(1, 2\) and would come back as \[1, 2\]"),
        ({"pair": [1]}, r"field 'pair' is \[1\] and would come back as \(1,\)"),
        ({"items": ["x"]}, r"field 'items' is \['x'\]: Expected .* - at `\$\.items\[0\]`$"),
        ({"table": {"__type__": "date", "__value__": "2026-01-01"}}, "rewritten by Celery"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],  # the same in each process
)
def test_a_value_that_would_change_is_refused_and_named(
    values: dict[str, Any], message: str
) -> None:
    event = Simple(**values)

    with pytest.raises(PayloadError, match=message) as caught:
        travelling(event)

    assert f"tests.simple {event.event_id} cannot travel" in str(caught.value)


def test_a_value_that_cannot_be_printed_is_named_all_the_same() -> None:
    with pytest.raises(PayloadError, match="field 'whole' is an unprintable int"):
        travelling(Simple(whole=10**4300))


@dataclass(frozen=True)
class Discreet(DomainEvent):
    event_type = "tests.discreet"

    email: str = field(repr=False, default="")
    phones: tuple[str, ...] = field(repr=False, default=())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"email": b"zoe@example.com"}, "field 'email' is a hidden bytes"),
        ({"phones": ["0612"]}, "is a hidden list and would come back as a hidden tuple"),
    ],
    ids=str,
)
def test_an_error_names_a_field_kept_out_of_repr_without_its_value(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(PayloadError, match=message) as caught:
        travelling(Discreet(**values))

    assert "zoe" not in str(caught.value)
    assert "0612" not in str(caught.value)


@dataclass(frozen=True)
class Tree:
    children: "list[Tree]"


@dataclass(frozen=True)
class Grown(DomainEvent):
    event_type = "tests.grown"

    root: Tree


def test_what_would_kill_a_worker_is_refused() -> None:
    register_event(Grown)
    tree = Tree([])
    for _ in range(40):
        tree = Tree([tree])
    assert travelling(Grown(root=tree))

    for _ in range(40):
        tree = Tree([tree])
    with pytest.raises(PayloadError, match="field 'root' .* nested deeper than 100 levels"):
        travelling(Grown(root=tree))


def test_a_class_redefined_since_is_refused() -> None:
    old = Simple()

    @dataclass(frozen=True)
    class Other(DomainEvent):
        event_type = "tests.simple"

    Other.__module__, Other.__qualname__ = Simple.__module__, Simple.__qualname__
    register_event(Other)

    with pytest.raises(PayloadError, match="was the class redefined"):
        travelling(old)
