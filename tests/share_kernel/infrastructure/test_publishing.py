import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventChainTooDeepError,
    PayloadError,
    UnknownEventTypeError,
    register_event,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    subscribe_async,
    subscribe_sync,
)
from tests.share_kernel.events import OrderPaid, OrderPlaced

Capture = Callable[..., Any]


def refuse(event: DomainEvent) -> None:
    raise ValueError("out of stock")


class TestSyncHandlers:
    def test_run_at_once_in_subscription_order(self) -> None:
        seen: list[str] = []
        subscribe_sync(OrderPlaced, lambda event: seen.append("first"))
        subscribe_sync(OrderPlaced, lambda event: seen.append("second"))

        publish_event(OrderPlaced())

        assert seen == ["first", "second"]

    def test_receive_the_very_event(self) -> None:
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, seen.append)
        event = OrderPlaced()

        publish_event(event)

        assert seen[0] is event

    def test_an_error_that_takes_no_note_goes_up_all_the_same(self) -> None:
        error = ValueError("out of stock")
        error.__notes__ = "no list"  # type: ignore[assignment]

        def refuse(event: DomainEvent) -> None:
            raise error

        subscribe_sync(OrderPlaced, refuse)

        with pytest.raises(ValueError, match="out of stock"):
            publish_event(OrderPlaced())

    def test_an_error_goes_up_with_a_note_and_stops_the_next_ones(self) -> None:
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, refuse)
        subscribe_sync(OrderPlaced, seen.append)
        event = OrderPlaced()

        with pytest.raises(ValueError, match="out of stock") as caught:
            publish_event(event)

        assert caught.value.__notes__ == [
            f"In sync handler {__name__}.refuse of event shop.order_placed {event.event_id}."
        ]
        assert seen == []

    @pytest.mark.django_db
    def test_an_error_plans_nothing_asynchronous(
        self, django_capture_on_commit_callbacks: Capture
    ) -> None:
        subscribe_async(OrderPlaced, refuse)
        subscribe_sync(OrderPlaced, refuse)

        with (
            django_capture_on_commit_callbacks() as callbacks,
            pytest.raises(ValueError, match="out"),
        ):
            publish_event(OrderPlaced())

        assert callbacks == []

    @pytest.mark.django_db(transaction=True)
    def test_an_error_rolls_the_callers_transaction_back(self) -> None:
        subscribe_sync(OrderPlaced, refuse)

        with pytest.raises(ValueError, match="out of stock"), transaction.atomic():
            Tenant.objects.create(slug="acme", schema_name="acme")
            publish_event(OrderPlaced())

        assert not Tenant.objects.exists()

    @pytest.mark.django_db
    def test_a_database_error_is_not_swallowed(self) -> None:
        """Avalée, elle laisserait une transaction inutilisable."""
        Tenant.objects.create(slug="acme", schema_name="acme")
        subscribe_sync(
            OrderPlaced, lambda event: Tenant.objects.create(slug="acme", schema_name="b")
        )

        with pytest.raises(IntegrityError), transaction.atomic():
            publish_event(OrderPlaced())


class TestRefused:
    def test_what_is_not_an_event(self) -> None:
        with pytest.raises(TypeError, match="publish_event takes a DomainEvent, not str"):
            publish_event("shop.order_placed")  # type: ignore[arg-type]

    def test_an_event_of_a_class_that_is_not_registered(self) -> None:
        @dataclass(frozen=True)
        class Unregistered(DomainEvent):
            event_type = "tests.unregistered"

        with pytest.raises(UnknownEventTypeError, match="Decorate it with @register_event"):
            publish_event(Unregistered())
        with pytest.raises(UnknownEventTypeError):
            publish_event(Unregistered())

    def test_an_event_of_a_class_redefined_since(self) -> None:
        def define() -> type[DomainEvent]:
            @register_event
            @dataclass(frozen=True)
            class Twice(DomainEvent):
                event_type = "tests.twice"

            return Twice

        old = define()()
        define()

        with pytest.raises(UnknownEventTypeError, match="not the one registered as 'tests.twice'"):
            publish_event(old)

    @pytest.mark.django_db
    def test_a_value_that_cannot_travel_before_any_sync_handler(self) -> None:
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, seen.append)
        subscribe_async(OrderPlaced, refuse)

        with pytest.raises(PayloadError, match=r"shop\.order_placed .* field 'total' is nan"):
            publish_event(OrderPlaced(total=float("nan")))

        assert seen == []

    def test_in_production_nothing_has_to_travel_without_an_async_handler(
        self, settings: Any
    ) -> None:
        settings.EVENT_BUS = {"CHECK_PAYLOADS": False}
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, seen.append)

        publish_event(OrderPlaced(total=float("nan")))

        assert len(seen) == 1


class TestChains:
    def test_an_endless_chain_is_stopped_and_named(self, settings: Any) -> None:
        settings.EVENT_BUS = {"MAX_DEPTH": 5}
        published: list[DomainEvent] = []

        def pay(event: OrderPlaced) -> None:
            published.append(event)
            publish_event(OrderPaid())

        def place(event: OrderPaid) -> None:
            published.append(event)
            publish_event(OrderPlaced())

        subscribe_sync(OrderPlaced, pay)
        subscribe_sync(OrderPaid, place)

        with pytest.raises(EventChainTooDeepError) as caught:
            publish_event(OrderPlaced())

        assert len(published) == 5
        assert "a chain of 6 events, more than MAX_DEPTH" in str(caught.value)
        assert "allows: shop.order_placed → shop.order_paid → shop.order_placed" in str(
            caught.value
        )

    def test_a_chain_as_long_as_allowed_passes(self, settings: Any) -> None:
        settings.EVENT_BUS = {"MAX_DEPTH": 2}
        paid: list[Any] = []
        subscribe_sync(OrderPlaced, lambda event: publish_event(OrderPaid()))
        subscribe_sync(OrderPaid, paid.append)
        placed = OrderPlaced()

        publish_event(placed)

        assert paid[0].causation_id == placed.event_id
        assert paid[0].correlation_id == placed.correlation_id

    def test_two_publications_in_a_row_are_not_a_chain(self) -> None:
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, seen.append)
        for _ in range(100):
            publish_event(OrderPlaced())

        assert all(event.causation_id is None for event in seen)

    def test_an_error_leaves_no_cause_behind(self) -> None:
        subscribe_sync(OrderPlaced, refuse)
        with pytest.raises(ValueError, match="out of stock"):
            publish_event(OrderPlaced())

        assert OrderPlaced().causation_id is None


@pytest.mark.django_db
def test_an_event_without_handlers_costs_nothing_and_says_nothing(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Capture
) -> None:
    with caplog.at_level(logging.DEBUG), django_capture_on_commit_callbacks() as callbacks:
        publish_event(OrderPlaced())

    assert (caplog.records, callbacks) == ([], [])
