import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from freezegun import freeze_time

from src.share_kernel.domain.causation import current_cause
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    NewerEventVersionError,
    PayloadError,
    RetryAfter,
    UnknownEventTypeError,
    get_event_class,
    register_event,
)


@dataclass(frozen=True)
class OrderShipped(DomainEvent):
    event_type = "sales.order_shipped"

    order_id: str
    parcels: int = 1


@pytest.fixture(autouse=True)
def _registered() -> None:
    register_event(OrderShipped)


def payload(**changes: Any) -> dict[str, Any]:
    return OrderShipped(order_id="o-1").to_dict() | changes


class TestEnvelope:
    @pytest.mark.parametrize(
        "copied", [copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))]
    )
    def test_is_copied_like_any_dataclass(self, copied: Callable[[Any], Any]) -> None:
        event = OrderShipped(order_id="o-1")

        assert copied(event) == event

    def test_an_event_is_identified_and_dated_in_utc(self) -> None:
        before = datetime.now(UTC)

        event = OrderShipped(order_id="o-1")

        assert event.event_id.version == 7
        assert before <= event.occurred_at <= datetime.now(UTC)
        assert event.occurred_at.tzinfo is UTC
        assert event.tenant_id is None

    def test_two_events_never_share_an_identifier(self) -> None:
        assert OrderShipped(order_id="o-1").event_id != OrderShipped(order_id="o-1").event_id

    def test_a_subclass_may_declare_required_positional_fields(self) -> None:
        assert OrderShipped("o-7", 2).parcels == 2

    def test_own_fields_are_keyword_only(self) -> None:
        with pytest.raises(TypeError):
            OrderShipped("o-1", 1, uuid4())  # type: ignore[call-arg]

    def test_an_event_is_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            OrderShipped("o-1").order_id = "o-2"  # type: ignore[misc]

    def test_its_time_follows_a_frozen_clock(self) -> None:
        with freeze_time("2020-02-03 04:05:06") as clock:
            first = OrderShipped("o-1")
            clock.tick(60)
            second = OrderShipped("o-1")
            with freeze_time("2019-01-01 02:00", tz_offset=2):
                third = OrderShipped("o-1")

        assert first.occurred_at == datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
        assert second.occurred_at == datetime(2020, 2, 3, 4, 6, 6, tzinfo=UTC)
        assert third.to_dict()["occurred_at"] == "2019-01-01T04:00:00Z"
        assert type(OrderShipped("o-1").occurred_at) is datetime

    def test_a_naive_time_is_refused(self) -> None:
        with pytest.raises(
            PayloadError, match=r"OrderShipped\.occurred_at is naive.*timezone\.now"
        ):
            OrderShipped("o-1", occurred_at=datetime(2026, 1, 1))  # noqa: DTZ001  (the point)

    def test_a_time_of_another_zone_becomes_utc(self) -> None:
        paris = timezone(timedelta(hours=2))

        event = OrderShipped("o-1", occurred_at=datetime(2026, 7, 1, 12, tzinfo=paris))

        assert event.occurred_at == datetime(2026, 7, 1, 10, tzinfo=UTC)
        assert event.occurred_at.tzinfo is UTC


class TestCausation:
    def test_a_first_event_correlates_with_itself(self) -> None:
        event = OrderShipped("o-1")

        assert event.correlation_id == event.event_id
        assert event.causation_id is None

    def test_an_event_built_while_handling_another_inherits_from_it(self) -> None:
        first = OrderShipped("o-1", correlation_id=UUID(int=7))
        token = current_cause.set((first, 0, None))

        second = OrderShipped("o-2")
        current_cause.reset(token)

        assert second.correlation_id == UUID(int=7)
        assert second.causation_id == first.event_id

    def test_a_rebuilt_event_does_not_inherit(self) -> None:
        original = OrderShipped("o-1")
        token = current_cause.set((OrderShipped("o-2"), 0, None))

        rebuilt = DomainEvent.from_dict(original.to_dict())
        current_cause.reset(token)

        assert rebuilt == original


class TestToDict:
    def test_is_flat_and_ready_for_json(self) -> None:
        event = OrderShipped("o-1", tenant_id="acme")

        assert json.loads(json.dumps(event.to_dict())) == {
            "event_type": "sales.order_shipped",
            "event_version": 1,
            "event_id": str(event.event_id),
            "correlation_id": str(event.event_id),
            "causation_id": None,
            "occurred_at": event.occurred_at.isoformat().replace("+00:00", "Z"),
            "tenant_id": "acme",
            "order_id": "o-1",
            "parcels": 1,
        }

    def test_names_the_event_that_cannot_be_written(self) -> None:
        event = OrderShipped(order_id=object())  # type: ignore[arg-type]

        with pytest.raises(PayloadError, match=rf"sales\.order_shipped {event.event_id}.*object"):
            event.to_dict()


class TestFromDict:
    def test_finds_the_class_by_the_name_of_the_event(self) -> None:
        assert isinstance(DomainEvent.from_dict(payload()), OrderShipped)

    def test_ignores_unknown_keys_and_leaves_its_argument_alone(self) -> None:
        data = payload(colour="blue")
        before = dict(data)

        assert DomainEvent.from_dict(data) == DomainEvent.from_dict(payload(**data))
        assert data == before

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"parcels": "two"}, r"sales\.order_shipped \S+ cannot be rebuilt: .*`int`.*parcels"),
            ({"occurred_at": "2026-01-01T00:00:00"}, "occurred_at is naive"),
            ({"event_id": 5}, r"event_id"),
            ({"event_version": "1"}, "event_version is '1', not a whole number"),
            ({"event_version": True}, "event_version is True, not a whole number"),
            ({"event_version": 0}, "event_version is 0, not a whole number"),
            ({"event_type": None}, "names its event_type; this one has None"),
            ({"event_type": 3}, "names its event_type; this one has 3"),
        ],
    )
    def test_names_what_is_wrong(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(PayloadError, match=message):
            DomainEvent.from_dict(payload(**changes))

    @pytest.mark.parametrize("field", ["event_id", "correlation_id", "occurred_at", "order_id"])
    def test_names_a_missing_field(self, field: str) -> None:
        data = payload()
        del data[field]

        with pytest.raises(PayloadError, match=rf"sales\.order_shipped .*{field}"):
            DomainEvent.from_dict(data)

    @pytest.mark.parametrize("data", [None, 42, "text", [], ["event_type"]])
    def test_refuses_what_is_not_a_dict(self, data: Any) -> None:
        with pytest.raises(PayloadError, match="An event payload is a dict, not"):
            DomainEvent.from_dict(data)

    def test_refuses_an_event_of_another_class(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class OrderLost(DomainEvent):
            event_type = "sales.order_lost"

        with pytest.raises(PayloadError, match="it is a OrderShipped, not a .*OrderLost"):
            OrderLost.from_dict(payload())

    def test_a_deeply_nested_payload_is_an_error_not_a_crash(self) -> None:
        nested: Any = "x"
        for _ in range(100_000):
            nested = [nested]

        with pytest.raises(PayloadError):
            DomainEvent.from_dict(payload(order_id=nested))


class TestVersions:
    def test_an_older_payload_is_upcast_from_a_copy(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Renamed(DomainEvent):
            event_type = "sales.renamed"
            event_version = 2
            full_name: str

            @classmethod
            def upcast(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
                assert from_version == 1
                data["full_name"] = " ".join(data.pop("names"))
                return data

        old = payload(event_type="sales.renamed", event_version=1, names=["Ada", "Lovelace"])

        event = Renamed.from_dict(old)

        assert event.full_name == "Ada Lovelace"
        assert old["names"] == ["Ada", "Lovelace"]

    def test_without_upcast_a_new_field_takes_its_default(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Grown(DomainEvent):
            event_type = "sales.grown"
            event_version = 2
            note: str = "-"

        assert Grown.from_dict(payload(event_type="sales.grown")).note == "-"

    def test_a_newer_payload_is_an_error_of_its_own(self) -> None:
        with pytest.raises(NewerEventVersionError, match="version 9 and this code knows version 1"):
            DomainEvent.from_dict(payload(event_version=9))

    def test_a_failing_upcast_names_the_event(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Broken(DomainEvent):
            event_type = "sales.broken"
            event_version = 3

            @classmethod
            def upcast(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
                raise KeyError("gone")

        with pytest.raises(
            PayloadError, match=r"sales\.broken .* upcast from version 1 to 3: KeyError"
        ):
            DomainEvent.from_dict(payload(event_type="sales.broken"))


class TestRegistry:
    def test_finds_a_class_by_name(self) -> None:
        assert get_event_class("sales.order_shipped") is OrderShipped

    def test_an_unknown_name_gets_a_suggestion(self) -> None:
        with pytest.raises(UnknownEventTypeError, match=r"Did you mean 'sales\.order_shipped'\?"):
            get_event_class("sales.order_shiped")


class TestRetryAfter:
    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
    def test_takes_a_finite_positive_delay(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="finite, positive number of seconds"):
            RetryAfter(seconds)

    def test_a_subclass_may_not_call_its_init(self) -> None:
        class AtOnce(RetryAfter):
            def __init__(self) -> None: ...

        assert AtOnce().seconds == 0

    def test_says_its_reason(self) -> None:
        assert str(RetryAfter(5, "rate limited")) == "rate limited"
        assert str(RetryAfter(5)) == "retry after 5 s"
