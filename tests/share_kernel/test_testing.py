from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import TestCase

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    UnknownEventTypeError,
    get_event_class,
    register_event,
)
from src.share_kernel.infrastructure import broker
from src.share_kernel.infrastructure.event_bus import (
    EventBus,
    event_bus,
    publish_event,
    publish_events,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.testing import deliver_pending, isolated_bus, record_events
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.mailbox import MEMORY, Mailbox


class TestIsolatedBus:
    def test_restores_subscriptions_event_types_and_breaker(self) -> None:
        before = event_bus.subscriptions()
        with isolated_bus() as bus:
            subscribe_sync("tests.temporary", lambda event: None)
            register_event(Temporary)
            broker.breaker.trip()
            assert bus is event_bus

        assert event_bus.subscriptions() == before
        assert not broker.breaker.is_open(float("inf"))
        with pytest.raises(UnknownEventTypeError):
            get_event_class("tests.temporary")

    def test_restores_after_an_error(self) -> None:
        before = event_bus.subscriptions()
        with pytest.raises(ZeroDivisionError), isolated_bus():
            subscribe_sync(OrderPlaced, lambda event: None)
            raise ZeroDivisionError

        assert event_bus.subscriptions() == before


class TestTheBroker:
    """Un test n’atteint aucun broker, quoi que disent les réglages, s’il ne le demande pas."""

    @pytest.fixture(autouse=True)
    def box(self) -> Iterator[Mailbox]:
        box = Mailbox()
        box.use(MEMORY)
        box.take()
        yield box
        box.use(None)

    def publish(self) -> list[Any]:
        ran: list[Any] = []
        subscribe_async(OrderPlaced, ran.append, name="ran")
        publish_event(OrderPlaced())
        return ran

    @pytest.mark.django_db(transaction=True)
    def test_a_commit_sends_nothing_and_runs_the_handlers(self, box: Mailbox) -> None:
        assert len(self.publish()) == 1
        assert box.take() == []

    @pytest.mark.django_db(transaction=True)
    def test_a_batch_sends_nothing(self, box: Mailbox) -> None:
        ran: list[Any] = []
        subscribe_async(OrderPlaced, ran.append, name="ran")

        publish_events([OrderPlaced(), OrderPlaced()])

        assert len(ran) == 2
        assert box.take() == []

    @pytest.mark.django_db(transaction=True)
    def test_the_register_has_nobody_to_wake(self, box: Mailbox, outbox: None) -> None:
        assert self.publish() == []
        assert box.take() == []
        with pytest.raises(CommandError, match="Celery has no broker here"):
            call_command("relay_events", once=True)

    @pytest.mark.django_db(transaction=True)
    def test_what_asks_for_it_gets_it(self, box: Mailbox) -> None:
        with isolated_bus(celery=True), isolated_bus():  # asking again for less changes nothing
            assert self.publish() == []

        assert [letter.task for letter in box.take()] == ["share_kernel.dispatch_async_event"]
        assert not broker.is_available()

    def test_outside_tests_it_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert current_app.conf.broker_url == MEMORY
        assert not broker.is_available()
        monkeypatch.delattr("django.test.utils._TestState.saved_data")

        assert broker.is_available()


class TestRecordEvents:
    def test_lists_what_is_published_while_handlers_run(self) -> None:
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, seen.append)

        with record_events() as events:
            publish_event(OrderPlaced())
            publish_event(OrderPaid())
        publish_event(OrderPlaced())

        assert [type(event) for event in events] == [OrderPlaced, OrderPaid]
        assert len(seen) == 2

    def test_lists_them_in_the_order_of_publication_whatever_handlers_do(self) -> None:
        def pay(event: DomainEvent) -> None:
            publish_event(OrderPaid())
            raise ValueError("no paper left")

        subscribe_sync(OrderPlaced, pay)

        with record_events() as events, pytest.raises(ValueError, match="no paper left"):
            publish_event(OrderPlaced())

        assert [type(event) for event in events] == [OrderPlaced, OrderPaid]

    def test_leaves_the_subscriptions_as_they_are(self) -> None:
        with record_events():
            subscribe_sync(OrderPlaced, in_the_transaction)
        after = event_bus.subscriptions()

        assert "record_events" not in [item.name for item in after]
        assert in_the_transaction in [item.handler for item in after]

    def test_blocks_may_be_nested(self) -> None:
        with record_events() as outer, record_events() as inner:
            publish_event(OrderPlaced())

        assert outer == inner
        assert len(outer) == 1


class TestDeliverPending(TestCase):
    def test_runs_after_commit_work_without_a_commit(self) -> None:
        seen: list[Any] = []
        with isolated_bus():
            subscribe_async(OrderPlaced, seen.append, name="seen")
            event = OrderPlaced()
            publish_event(event)
            assert seen == []

            assert deliver_pending() == ["seen"]
            assert deliver_pending() == []

        assert seen == [event]

    def test_skips_what_a_savepoint_has_rolled_back(self) -> None:
        with isolated_bus():
            subscribe_async(OrderPlaced, lambda event: None, name="h")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                publish_event(OrderPlaced())
                raise ZeroDivisionError

            assert deliver_pending() == []

    def test_delivers_what_handlers_publish(self) -> None:
        paid: list[Any] = []
        with isolated_bus():
            subscribe_async(OrderPlaced, lambda event: publish_event(OrderPaid()), name="pay")
            subscribe_async(OrderPaid, paid.append, name="paid")
            publish_event(OrderPlaced())

            assert deliver_pending() == ["pay", "paid"]

        assert len(paid) == 1

    def test_raises_a_handlers_error_after_running_the_others(self) -> None:
        seen: list[Any] = []
        with isolated_bus():
            subscribe_async(OrderPlaced, fail, name="fail")
            subscribe_async(OrderPlaced, seen.append, name="seen")
            publish_event(OrderPlaced())

            with pytest.raises(ValueError, match="no paper left") as caught:
                deliver_pending()

        assert caught.value.__notes__[0].startswith("In async handler fail of event shop.order_pl")
        assert len(seen) == 1

    def test_raises_a_group_when_several_fail(self) -> None:
        with isolated_bus():
            subscribe_async(OrderPlaced, fail, name="fail")
            subscribe_async(OrderPlaced, fail, name="fail again", max_attempts=1)
            subscribe_async(OrderPaid, fail, name="fail")
            publish_event(OrderPlaced())
            publish_event(OrderPaid())

            with pytest.raises(ExceptionGroup, match="2 async handlers failed"):
                deliver_pending()

    def test_only_what_could_be_delivered_is_accepted(self) -> None:
        """Une faute de frappe ne doit pas passer pour « rien n’attendait »."""
        with isolated_bus():
            subscribe_async(OrderPlaced, seen_by_nobody, name="seen")
            subscribe_sync(OrderPlaced, in_the_transaction)
            publish_event(OrderPaid())
            for only in WRONG:
                with (
                    self.subTest(only=only),
                    pytest.raises(TypeError, match="event class or a han"),
                ):
                    deliver_pending(only=only)

    def test_an_event_or_a_handler_that_has_nothing_to_do_is_accepted(self) -> None:
        with isolated_bus():
            subscribe_async(OrderPlaced, seen_by_nobody, name="seen")
            for only in (OrderPlaced, OrderPaid, DomainEvent, seen_by_nobody, None):
                with self.subTest(only=only):
                    assert deliver_pending(only=only) == []

    def test_a_handler_unsubscribed_meanwhile_is_accepted(self) -> None:
        with isolated_bus():
            subscribe_async(OrderPlaced, seen_by_nobody, name="seen")
            publish_event(OrderPlaced())
            unsubscribe(OrderPlaced, seen_by_nobody)

            assert deliver_pending(only=seen_by_nobody) == ["seen"]

    def test_a_handler_of_another_bus_is_accepted(self) -> None:
        bus = EventBus()
        bus.subscribe_async(OrderPlaced, seen_by_nobody, name="seen")
        bus.publish(OrderPlaced())

        assert deliver_pending(only=seen_by_nobody) == ["seen"]

    def test_leaves_the_projects_own_callbacks_alone(self) -> None:
        called: list[str] = []
        with isolated_bus():
            subscribe_async(OrderPlaced, lambda event: None, name="h")
            with self.captureOnCommitCallbacks() as callbacks:
                transaction.on_commit(lambda: called.append("mine"))
                publish_event(OrderPlaced())
                deliver_pending()

        assert len(callbacks) == 1
        assert called == []


def seen_by_nobody(event: DomainEvent) -> None: ...


def in_the_transaction(event: DomainEvent) -> None: ...


def subscribed_nowhere(event: DomainEvent) -> None: ...


@dataclass(frozen=True)
class NeverRegistered(DomainEvent):
    event_type = "tests.never_registered"


WRONG: list[Any] = [
    "text",
    "seen",
    "shop.order_placed",
    3,
    True,
    b"",
    [OrderPlaced],
    OrderPlaced(),
    int,
    DomainEvent.from_dict,
    subscribed_nowhere,
    in_the_transaction,
    NeverRegistered,
]


def fail(event: DomainEvent) -> None:
    raise ValueError("no paper left")


@dataclass(frozen=True)
class Temporary(DomainEvent):
    event_type = "tests.temporary"


def test_the_fixtures_bear_the_same_names(
    isolated_bus: EventBus, record_events: list[DomainEvent], deliver_pending: Any, db: None
) -> None:
    isolated_bus.subscribe_async(OrderPlaced, lambda event: None, name="h")
    publish_event(OrderPlaced())

    assert len(record_events) == 1
    assert deliver_pending() == ["h"]
