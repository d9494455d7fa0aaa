"""Un jour ordinaire, avec le registre : chaque ligne a un verdict, et le relais continue."""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from unittest import mock

import kombu
import pytest
from celery.exceptions import QueueNotFound
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    DomainEventError,
    NewerEventVersionError,
    PayloadError,
    RetryAfter,
    UnknownEventTypeError,
    UnknownHandlerError,
    register_event,
)
from src.share_kernel.infrastructure import handling
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    unsubscribe,
)
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.conftest import MemoryBroker
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.misbehaving import (
    AWAITED,
    ENDED,
    ENDED_IN_SILENCE,
    FAILURES,
    LEFT_OPEN,
    LEFT_OPEN_ALONE,
    NEVER_RUN,
    NEWER,
    SOUND,
    UNDONE,
    UNPRINTABLE,
    Handler,
    Ordered,
    Stop,
    StrRaises,
    Work,
    never_leaves_an_atomic_in_a_callback,
    newer_payload,
    raising,
    swallows_in_a_coroutine,
    write,
)
from tests.share_kernel.one_row import deliver_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

Seen = list[Any]


@pytest.fixture
def after() -> Seen:
    """Ce que reçoit un handler dont la ligne vient après les autres."""
    return []


def row(handler: str) -> Delivery:
    return Delivery.objects.get(handler=handler)


def bring_forward() -> None:
    """Fait comme si tous les délais étaient écoulés, et toutes les réservations finies."""
    past = timezone.now() - timedelta(days=2)
    Delivery.objects.filter(state="pending").update(start_after=past, send_after=past)


def publish_with(handler: Handler, after: Seen, **options: Any) -> DomainEvent:
    """Publie un événement dont *handler* est le premier handler, et *after* le second."""
    event = OrderPlaced()
    subscribe_async(OrderPlaced, handler, name="first", **options)
    subscribe_async(OrderPlaced, after.append, name="second")
    publish_event(event)
    return event


def run(*args: str) -> str:
    stream = StringIO()
    call_command(*args, stdout=stream)
    return stream.getvalue()


def said_at(level: int, caplog: pytest.LogCaptureFixture, *words: str) -> bool:
    """Dit si une ligne du journal, de ce niveau au moins, contient tous ces mots."""
    return any(
        record.levelno >= level and all(word in record.getMessage() for word in words)
        for record in caplog.records
    )


def has_failed_once(event: DomainEvent, after: Seen, *, error: str = "") -> None:
    """La première ligne a un essai raté, écrit ; la seconde est faite."""
    first = row("first")
    assert (first.state, first.attempts) == ("pending", 1)
    assert first.error
    assert error in first.error
    assert row("second").state == "done"
    assert after == [event]


def nothing_is_open() -> bool:
    return transaction.get_autocommit() and not connection.in_atomic_block


class TestLeftOpen:
    """A : le handler laisse une transaction ouverte ; la suite n’y est pas prise."""

    @pytest.mark.parametrize(
        ("handler", "atomic"),
        [(item, True) for item in LEFT_OPEN] + [(item, False) for item in LEFT_OPEN_ALONE],
    )
    def test_it_has_failed_and_the_next_is_committed(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture, *, atomic: bool
    ) -> None:
        event = publish_with(handler, after, atomic=atomic)

        assert relay(execute=True) == 2

        assert nothing_is_open()
        has_failed_once(event, after)
        assert not Tenant.objects.exists()
        assert said_at(logging.WARNING, caplog, "first", str(event.event_id))

    def test_the_error_names_the_database(self, after: Seen) -> None:
        publish_with(LEFT_OPEN[0], after)

        relay(execute=True)

        assert "left a transaction open on default" in row("first").error

    def test_a_callback_that_does_is_logged(
        self, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(never_leaves_an_atomic_in_a_callback, after)

        assert relay(execute=True) == 2

        assert nothing_is_open()
        assert (row("first").state, row("second").state) == ("done", "done")
        assert not Tenant.objects.exists()
        assert said_at(logging.ERROR, caplog, "callback", "first", str(event.event_id))


class TestUndone:
    """A : le handler revient, mais Django annule ce qu’il a écrit."""

    @pytest.mark.parametrize("handler", [*UNDONE, swallows_in_a_coroutine])
    def test_it_has_failed(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(handler, after)

        assert relay(execute=True) == 2

        has_failed_once(event, after, error="atomic()")
        assert not Tenant.objects.exists()
        assert said_at(logging.WARNING, caplog, "first", str(event.event_id))

    @pytest.mark.parametrize("handler", UNDONE)
    def test_it_is_given_up_like_any_other(self, handler: Handler, after: Seen) -> None:
        publish_with(handler, after, max_attempts=2)

        for _ in range(3):
            relay(execute=True)
            bring_forward()

        assert (row("first").state, row("first").attempts) == ("dead", 2)
        assert "atomic()" in row("first").error

    @pytest.mark.parametrize("handler", SOUND)
    def test_what_is_sound_is_believed(self, handler: Handler, after: Seen) -> None:
        publish_with(handler, after)

        relay(execute=True)

        assert (row("first").state, row("first").attempts) == ("done", 1)
        assert Tenant.objects.get().slug == "written"


class TestNotRun:
    """A : le handler rend ce qu’il aurait dû exécuter."""

    @pytest.mark.parametrize("make", AWAITED.values(), ids=AWAITED)
    def test_what_can_be_awaited_is(self, make: Callable[[Work], Handler], after: Seen) -> None:
        runs: Seen = []
        publish_with(make(lambda: runs.append(1)), after)

        relay(execute=True)

        assert runs == [1]
        assert row("first").state == "done"

    @pytest.mark.parametrize("make", NEVER_RUN.values(), ids=NEVER_RUN)
    def test_what_never_ran_has_failed(self, make: Callable[[Work], Handler], after: Seen) -> None:
        runs: Seen = []
        event = publish_with(make(lambda: runs.append(1)), after)

        assert relay(execute=True) == 2

        assert runs == []
        has_failed_once(event, after)


# What is no request to stop, and one that only the relay survives.
ANY_END = FAILURES | {"SystemExit": raising(SystemExit)}
ANY_END_OR_NO_TRANSACTION = ANY_END | ENDED | ENDED_IN_SILENCE


class TestBadEnds:
    """B : quoi que lève un handler, sa ligne a un verdict, et le relais continue."""

    @pytest.fixture(autouse=True)
    def _much_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Une commande qui tourne ferait sinon l’essai suivant, sur une machine lente."""
        monkeypatch.setattr("random.uniform", max)
        monkeypatch.setattr(handling, "BACKOFF_BASE", 600)

    @pytest.mark.parametrize(
        "handler", [*ANY_END.values(), *ENDED.values()], ids=[*ANY_END, *ENDED]
    )
    def test_the_relay_goes_on(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(handler, after)

        assert relay(execute=True) == 2

        has_failed_once(event, after)
        assert said_at(logging.WARNING, caplog, "first", str(event.event_id))

    @pytest.mark.parametrize("handler", ANY_END.values(), ids=ANY_END)
    def test_the_command_goes_on(self, handler: Handler, after: Seen) -> None:
        event = publish_with(handler, after)

        run("relay_events", "--execute", "--once")

        has_failed_once(event, after)

    @pytest.mark.parametrize("handler", FAILURES.values(), ids=FAILURES)
    def test_a_worker_goes_on(
        self, handler: Handler, after: Seen, memory_broker: MemoryBroker
    ) -> None:
        event = publish_with(handler, after)
        ids = [str(row("first").pk), str(row("second").pk)]

        assert memory_broker.run("deliver", ids) == "SUCCESS"

        has_failed_once(event, after)

    def test_a_request_to_stop_goes_up_to_celery_once_it_is_written(
        self, memory_broker: MemoryBroker, after: Seen
    ) -> None:
        publish_with(raising(SystemExit), after)

        with pytest.raises(SystemExit):
            memory_broker.run("deliver", [str(row("first").pk)])

        assert (row("first").state, row("first").attempts) == ("pending", 1)
        assert "SystemExit" in row("first").error

    def test_the_relay_tells_that_it_did_not_stop(
        self, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_with(raising(SystemExit), after)

        relay(execute=True)

        assert said_at(logging.ERROR, caplog, str(row("first").pk), "SystemExit")

    def test_the_keyboard_interrupts(self, after: Seen) -> None:
        publish_with(raising(KeyboardInterrupt), after)

        with pytest.raises(KeyboardInterrupt):
            relay(execute=True)

        assert row("first").state == "pending"

    @pytest.mark.parametrize("error", ["CancelledError", "another BaseException", "SystemExit"])
    def test_they_are_bounded(self, error: str, after: Seen) -> None:
        publish_with(ANY_END[error], after, max_attempts=2)

        for _ in range(3):
            relay(execute=True)
            bring_forward()

        first = row("first")
        assert (first.state, first.attempts) == ("dead", 2)
        assert "process was lost" not in first.error

    def test_what_a_handler_raised_outlives_its_transaction(self, after: Seen) -> None:
        publish_with(ENDED["ROLLBACK, then ValueError"], after)

        relay(execute=True)

        assert "no paper left" in row("first").error

    @pytest.mark.parametrize("make", UNPRINTABLE.values(), ids=UNPRINTABLE)
    def test_an_error_that_cannot_be_written_is_a_failure_like_another(
        self, make: Callable[[], Exception], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(raising(make), after, max_attempts=2)

        run("relay_events", "--execute", "--once")
        has_failed_once(event, after, error=type(make()).__name__)

        bring_forward()
        run("relay_events", "--execute", "--once")
        first = row("first")
        assert (first.state, first.attempts) == ("dead", 2)
        assert len(first.error) <= 2000
        assert said_at(logging.ERROR, caplog, "first", str(event.event_id))


class TestCallbacksOfAHandler:
    """B : ce qu’un handler a prévu pour après son commit échoue, et lui n’a pas échoué."""

    @pytest.mark.parametrize("error", [ZeroDivisionError, StrRaises, Stop, SystemExit])
    @pytest.mark.parametrize("by_command", [False, True], ids=["relay", "command"])
    def test_the_others_run_and_it_is_done(
        self,
        error: type[BaseException],
        by_command: bool,
        after: Seen,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        steps: list[str] = []
        paid: Seen = []

        def service(event: DomainEvent) -> None:
            write()
            transaction.on_commit(lambda: steps.append("before"))
            transaction.on_commit(lambda: raising(error)(event))
            publish_event(OrderPaid())
            transaction.on_commit(lambda: steps.append("after"))

        subscribe_async(OrderPaid, paid.append, name="paid")
        event = publish_with(service, after)

        for _ in range(2):
            if by_command:
                run("relay_events", "--execute", "--once")
            else:
                relay(execute=True)
            bring_forward()

        assert steps == ["before", "after"]
        assert Tenant.objects.count() == 1
        assert (row("first").state, row("first").attempts) == ("done", 1)
        assert after == [event]
        assert len(paid) == 1
        assert said_at(logging.ERROR, caplog, "first")
        (record,) = [item for item in caplog.records if "on_commit" in item.getMessage()]
        assert vars(record)["event_id"] == str(event.event_id)
        assert isinstance(record.exc_info and record.exc_info[1], error)

    def test_a_request_to_stop_goes_up_to_celery_once_it_is_done(
        self, memory_broker: MemoryBroker, after: Seen
    ) -> None:
        publish_with(lambda event: transaction.on_commit(lambda: raising(SystemExit)(event)), after)

        with pytest.raises(SystemExit):
            memory_broker.run("deliver", [str(row("first").pk)])

        assert (row("first").state, row("first").attempts) == ("done", 1)


class TestMisrouted:
    """C : une ligne mal routée n’arrête pas les autres."""

    @pytest.fixture
    def healthy(self, memory_broker: MemoryBroker) -> Seen:
        """Celery ne connaît qu’une file ; le premier handler en nomme une autre."""
        memory_broker.app.conf.update(
            task_queues=[kombu.Queue("celery")], task_create_missing_queues=False
        )
        received: Seen = []
        subscribe_async(OrderPlaced, print, name="misrouted", queue="tpyo")
        subscribe_async(OrderPlaced, received.append, name="healthy")
        return received

    def woken(self, memory_broker: MemoryBroker) -> list[str]:
        ids = [pk for message in memory_broker.take() for pk in message.payload[0][0]]
        return list(Delivery.objects.filter(pk__in=ids).values_list("handler", flat=True))

    def test_the_others_leave_at_publication(
        self, healthy: Seen, memory_broker: MemoryBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = OrderPlaced()

        publish_event(event)
        publish_event(OrderPlaced())

        assert self.woken(memory_broker) == ["healthy", "healthy"]
        assert said_at(logging.ERROR, caplog, str(event.event_id), "misrouted", "tpyo")

    def test_the_others_leave_with_it_in_bulk(
        self, healthy: Seen, memory_broker: MemoryBroker
    ) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])

        assert self.woken(memory_broker) == ["healthy", "healthy"]

    def test_the_others_leave_at_each_turn_of_the_relay(
        self, healthy: Seen, memory_broker: MemoryBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = OrderPlaced()
        publish_event(event)
        memory_broker.take()
        caplog.clear()

        for _ in range(3):
            bring_forward()
            assert relay() == 1
            assert self.woken(memory_broker) == ["healthy"]

        assert said_at(logging.ERROR, caplog, str(event.event_id), "misrouted", "tpyo")

    def test_it_goes_behind_the_others(self, healthy: Seen, memory_broker: MemoryBroker) -> None:
        publish_event(OrderPlaced())
        bring_forward()

        relay()

        assert row("misrouted").send_after > timezone.now()
        assert relay() == 0
        assert row("misrouted").state == "pending"

    def test_a_window_full_of_them_stops_nothing(
        self, healthy: Seen, memory_broker: MemoryBroker
    ) -> None:
        subscribe_async(OrderPaid, print, name="misrouted too", queue="tpyo")
        publish_events([OrderPaid() for _ in range(350)])
        publish_event(OrderPlaced())
        memory_broker.take()
        bring_forward()
        Delivery.objects.filter(handler="healthy").update(send_after=timezone.now())

        woken = [handler for _ in range(3) if relay() for handler in self.woken(memory_broker)]

        assert woken == ["healthy"]

    def test_it_is_delivered_all_the_same_by_whom_needs_no_queue(self, healthy: Seen) -> None:
        publish_event(OrderPlaced())

        assert relay(execute=True) == 2

        assert row("misrouted").state == "done"

    def test_a_failure_of_the_broker_stops_the_turn(
        self, memory_broker: MemoryBroker, after: Seen
    ) -> None:
        tried: Seen = []

        def route(name: str, *_: Any, **__: Any) -> None:
            tried.append(name)
            raise ConnectionRefusedError(111, "Connection refused")

        publish_with(print, after)
        memory_broker.take()
        bring_forward()
        memory_broker.app.conf.update(task_routes=(route,))

        assert relay() == 0
        assert relay() == 0

        assert len(tried) == 1

    def test_an_error_met_by_the_router_of_celery_is_the_messages_own(
        self, memory_broker: MemoryBroker, after: Seen
    ) -> None:
        def route(name: str, args: Any, kwargs: Any, options: Any, **_: Any) -> None:
            if args[0] == [str(row("first").pk)]:
                raise QueueNotFound("no such queue")

        memory_broker.app.conf.update(task_routes=(route,))
        publish_with(print, after)

        assert self.woken(memory_broker) == ["second"]


def at(shift: timedelta) -> Any:
    """Dans le bloc, l’horloge de la machine est décalée."""
    real = timezone.now

    def wrong() -> datetime:
        return real() + shift

    return mock.patch("django.utils.timezone.now", wrong)


SHIFTS = [timedelta(seconds=0.3), timedelta(seconds=5), timedelta(hours=3), timedelta(days=2)]


class TestClocks:
    """D : une ligne neuve est due, quoi que disent les horloges des machines."""

    @pytest.mark.parametrize("shift", [*SHIFTS, *(-shift for shift in SHIFTS)], ids=str)
    def test_a_wake_up_works_at_once(self, shift: timedelta, after: Seen) -> None:
        subscribe_async(OrderPlaced, after.append, name="h")
        with at(shift):
            publish_event(OrderPlaced())

        assert deliver_row(row("h").pk, "default") is True
        assert len(after) == 1

    @pytest.mark.parametrize("shift", [*SHIFTS, *(-shift for shift in SHIFTS)], ids=str)
    def test_so_does_the_relay_and_the_worker_may_be_the_one_that_is_wrong(
        self, shift: timedelta, after: Seen
    ) -> None:
        subscribe_async(OrderPlaced, after.append, name="h")
        publish_event(OrderPlaced())

        with at(shift):
            assert relay(execute=True) == 1

        assert len(after) == 1

    @pytest.mark.parametrize("shift", [*SHIFTS, *(-shift for shift in SHIFTS)], ids=str)
    def test_a_backoff_lasts_what_it_says(self, shift: timedelta) -> None:
        subscribe_async(OrderPlaced, raising(lambda: RetryAfter(600)), name="h")
        publish_event(OrderPlaced())

        with at(shift):
            relay(execute=True)

        assert row("h").attempts == 1
        assert timedelta(0) < row("h").start_after - timezone.now() <= timedelta(seconds=600)
        assert deliver_row(row("h").pk, "default") is False

    @pytest.mark.parametrize("shift", [timedelta(hours=1), timedelta(hours=-1)], ids=str)
    def test_a_reservation_holds_whoever_looks(self, shift: timedelta) -> None:
        """Un réveil de plus, pendant que le handler s’exécute, sur une machine décalée."""
        outcomes: Seen = []

        def handler(event: DomainEvent) -> None:
            with at(shift):
                outcomes.append(deliver_row(row("h").pk, "default"))

        subscribe_async(OrderPlaced, handler, name="h")
        publish_event(OrderPlaced())

        relay(execute=True)

        assert outcomes == [False]
        assert row("h").attempts == 1


class TestWithoutTimeZones:
    """D : ``USE_TZ=False``, et deux processus qui n’ont pas le même fuseau."""

    ZONES = [
        ("Europe/Paris", "Europe/Paris"),
        ("Asia/Tokyo", "America/New_York"),
        ("America/New_York", "Asia/Tokyo"),
    ]

    @pytest.mark.parametrize(("publisher", "worker"), ZONES)
    def test_a_wake_up_works_at_once(
        self, publisher: str, worker: str, after: Seen, settings: Any
    ) -> None:
        settings.USE_TZ = False
        subscribe_async(OrderPlaced, after.append, name="h")
        settings.TIME_ZONE = publisher
        publish_event(OrderPlaced())

        settings.TIME_ZONE = worker

        assert deliver_row(row("h").pk, "default") is True
        assert len(after) == 1

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
    def test_a_failure_waits_its_time_and_no_more(self, zone: str, settings: Any) -> None:
        settings.USE_TZ = False
        settings.TIME_ZONE = zone
        subscribe_async(OrderPlaced, raising(lambda: RetryAfter(60)), name="later")
        subscribe_async(OrderPlaced, raising(lambda: RetryAfter(0)), name="now")
        publish_event(OrderPlaced())

        relay(execute=True)
        relay(execute=True)

        assert row("later").attempts == 1
        assert row("now").attempts == 2

    def test_the_commands_answer(self, after: Seen, settings: Any) -> None:
        settings.USE_TZ = False
        settings.TIME_ZONE = "Asia/Tokyo"
        publish_with(raising(ValueError), after, max_attempts=1)

        run("relay_events", "--execute", "--once")

        (dead, done) = json.loads(run("events_status", "--json"))
        assert (dead["state"], done["state"]) == ("dead", "done")
        assert 0 <= dead["oldest_seconds"] < 600
        assert "deleted: 0." in run("prune_events", "--days", "0.1")
        assert "replayed: 1." in run("replay_events", "--all")


class TestLocked:
    """F : le mot « locked » dans l’erreur d’un handler ne dit rien de notre base."""

    @pytest.mark.parametrize(
        "error",
        [
            OperationalError("database is locked"),
            OperationalError("database table is locked"),
            OperationalError("account is locked"),
            OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction"),
            OperationalError("deadlock detected"),
            IntegrityError("UNIQUE constraint failed: the account is locked"),
            RuntimeError("database is locked"),
        ],
        ids=repr,
    )
    def test_it_is_an_attempt_like_another(
        self, error: Exception, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        calls: Seen = []

        def handler(event: DomainEvent) -> None:
            calls.append(event)
            raise error

        event = publish_with(handler, after)

        for _ in range(12):
            relay(execute=True)
            bring_forward()

        first = row("first")
        assert len(calls) == 8
        assert (first.state, first.attempts) == ("dead", 8)
        assert str(error) in first.error
        assert said_at(logging.ERROR, caplog, "Gave up", "first", str(event.event_id))


@register_event
@dataclass(frozen=True)
class Tagged(DomainEvent):
    event_type = "tests.tagged"
    event_version = 2

    tags: frozenset[str] = frozenset("abcdef")

    @classmethod
    def upcast(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        return data | {"tags": data.pop("words").split()}


class TestOneIdentifierTwoFacts:
    """H : deux faits différents sous un même ``event_id`` ne passent pas pour un seul."""

    @pytest.fixture(autouse=True)
    def _subscribed(self, after: Seen) -> None:
        for event_type in (OrderPlaced, OrderPaid, Tagged):
            subscribe_async(event_type, after.append, name="h")

    def changed(self, event: OrderPlaced) -> list[DomainEvent]:
        return [
            replace(event, order_id="another"),
            replace(event, tenant_id="acme"),
            replace(event, items=["pen"]),
            replace(event, occurred_at=event.occurred_at + timedelta(microseconds=1)),
            OrderPaid(event_id=event.event_id, occurred_at=event.occurred_at),
        ]

    @pytest.mark.parametrize("number", range(5), ids=["field", "tenant", "list", "time", "type"])
    @pytest.mark.parametrize("delivered", [False, True], ids=["pending", "done"])
    def test_the_second_is_an_error(self, number: int, delivered: bool, after: Seen) -> None:
        event = OrderPlaced()
        publish_event(event)
        if delivered:
            relay(execute=True)

        with pytest.raises(DomainEventError, match=str(event.event_id)):
            publish_event(self.changed(event)[number])

        relay(execute=True)
        assert after == [event]

    def test_two_in_one_bulk_publication_too(self) -> None:
        event = OrderPlaced()

        with pytest.raises(DomainEventError, match=str(event.event_id)), transaction.atomic():
            publish_events([event, OrderPlaced(), replace(event, order_id="another")])

        assert not Delivery.objects.exists()

    def test_outside_a_transaction_nothing_of_it_is_kept(self) -> None:
        event = OrderPlaced()
        publish_event(event)
        subscribe_async(OrderPlaced, lambda event: None, name="added")

        with pytest.raises(DomainEventError):
            publish_events([OrderPlaced(), replace(event, order_id="another")])

        assert Delivery.objects.get().handler == "h"

    def test_a_caller_that_catches_the_error_cannot_keep_half_of_it(self) -> None:
        event = OrderPlaced()
        publish_event(event)

        with transaction.atomic(), suppress(DomainEventError):
            publish_events([OrderPlaced(), replace(event, order_id="another")])

        assert Delivery.objects.count() == 1

    def test_the_callers_transaction_is_rolled_back(self) -> None:
        event = OrderPlaced()
        publish_event(event)

        with pytest.raises(DomainEventError), transaction.atomic():
            write()
            publish_event(replace(event, order_id="another"))

        assert not Tenant.objects.exists()
        assert Delivery.objects.count() == 1

    def test_what_cannot_be_read_is_not_equal(self) -> None:
        event = OrderPlaced()
        publish_event(event)
        Delivery.objects.update(payload="{")

        with pytest.raises(DomainEventError, match=str(event.event_id)):
            publish_event(event)

    @pytest.mark.parametrize("delivered", [False, True], ids=["pending", "done"])
    def test_an_equal_event_is_ignored(self, delivered: bool, after: Seen) -> None:
        event = OrderPlaced(items=["é", "\0"])
        publish_event(event)
        if delivered:
            relay(execute=True)

        publish_event(replace(event))
        with transaction.atomic():
            publish_events([OrderPlaced(), event])

        relay(execute=True)
        assert [received.event_id for received in after].count(event.event_id) == 1
        assert Delivery.objects.count() == len(after) == 2

    def test_the_same_event_twice_in_one_bulk_publication_is_one(self, after: Seen) -> None:
        event = OrderPlaced()

        publish_events([event, OrderPlaced(), replace(event)])

        relay(execute=True)
        assert [received.event_id for received in after].count(event.event_id) == 1
        assert len(after) == 2

    def test_events_are_compared_and_not_their_text(self, after: Seen) -> None:
        """Un ensemble s’écrit dans un autre ordre dans chaque processus."""
        event = Tagged()
        publish_event(event)
        payload = json.loads(row("h").payload)
        for other in (
            payload | {"tags": sorted(payload["tags"], reverse=True)},
            dict(reversed(payload.items())),
            {key: value for key, value in payload.items() if key != "tags"}
            | {"words": "f e d c b a", "event_version": 1},
        ):
            Delivery.objects.update(payload=json.dumps(other, indent=1))

            publish_event(event)

        relay(execute=True)
        assert after == [event]

    def test_a_handler_added_since_receives_it(self, after: Seen) -> None:
        event = OrderPlaced()
        publish_event(event)
        subscribe_async(OrderPlaced, print, name="added")

        publish_event(event)

        assert Delivery.objects.count() == 2


def write_payload(payload: dict[str, Any]) -> None:
    Delivery.objects.update(payload=json.dumps(payload))


FORGED = {
    "nothing": "",
    "half a text": "{",
    "null": "null",
    "a number": "42",
    "a list": "[]",
    "a text": '"text"',
    "an empty mapping": "{}",
    "a hundred thousand lists": "[" * 100_000,
    "no type": json.dumps(newer_payload({"event_type": ...})),
    "a number for a type": json.dumps(newer_payload({"event_type": 3})),
    "no event_id": json.dumps(newer_payload({"event_id": ...})),
    "an event_id that is none": json.dumps(newer_payload({"event_id": "x"})),
    "null for an event_id": json.dumps(newer_payload({"event_id": None})),
    "a text for a version": json.dumps(newer_payload({"event_version": "x"})),
    "version 0": json.dumps(newer_payload({"event_version": 0})),
    "version 1.5": json.dumps(newer_payload({"event_version": 1.5})),
}


class TestWrittenByNewerCode:
    """I : ce qu’un code plus récent a écrit attend un déploiement, sans rien user."""

    @pytest.fixture(autouse=True)
    def _published(self, outbox: None, after: Seen) -> None:
        subscribe_async(Ordered, after.append, name="h", max_attempts=1)
        publish_event(Ordered(reference="r-1"))

    @pytest.mark.parametrize("changes", NEWER.values(), ids=NEWER)
    def test_it_waits(
        self, changes: dict[str, Any], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        write_payload(newer_payload(changes))

        for _ in range(3):
            relay(execute=True)
            assert deliver_row(row("h").pk, "default") is False  # not before minutes
            bring_forward()

        assert (row("h").state, row("h").attempts) == ("pending", 0)
        (field,) = changes
        assert field in row("h").error
        assert "deployment" in row("h").error + caplog.text
        assert "Gave up" not in caplog.text

    @pytest.mark.parametrize("changes", NEWER.values(), ids=NEWER)
    def test_it_is_delivered_once_deployed(self, changes: dict[str, Any], after: Seen) -> None:
        write_payload(newer_payload(changes))
        relay(execute=True)

        write_payload(newer_payload({}))  # as good as newer code that reads it
        bring_forward()
        relay(execute=True)

        assert len(after) == 1
        assert (row("h").state, row("h").attempts, row("h").error) == ("done", 1, "")

    @pytest.mark.parametrize("worst", [Stop, GeneratorExit, SystemExit])
    def test_an_upcast_that_ends_badly_does_not_stop_the_relay(
        self, worst: type[BaseException], after: Seen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def upcast(data: dict[str, Any], version: int) -> dict[str, Any]:
            raise worst

        monkeypatch.setattr(Ordered, "event_version", 2)
        monkeypatch.setattr(Ordered, "upcast", upcast)
        write_payload(newer_payload({"event_version": 1}))
        subscribe_async(OrderPaid, after.append, name="second")
        publish_event(OrderPaid())

        relay(execute=True)

        assert (row("h").state, row("h").attempts) == ("pending", 0)
        assert worst.__name__ in row("h").error
        assert row("second").state == "done"

    def test_an_old_row_waits_too_at_its_first_look_up(self) -> None:
        write_payload(newer_payload(NEWER["a new member of an enum"]))
        Delivery.objects.update(pending_since=timezone.now() - timedelta(days=2))

        relay(execute=True)

        assert (row("h").state, row("h").attempts) == ("pending", 0)

    def test_it_is_given_up_after_a_day(self, caplog: pytest.LogCaptureFixture) -> None:
        write_payload(newer_payload(NEWER["a new member of an enum"]))
        relay(execute=True)
        Delivery.objects.update(pending_since=timezone.now() - timedelta(days=2))
        bring_forward()

        relay(execute=True)

        assert row("h").state == "dead"
        assert said_at(logging.ERROR, caplog, "Gave up", "h")

    def test_the_status_says_what_it_waits_for(self) -> None:
        write_payload(newer_payload(NEWER["a new member of an enum"]))
        relay(execute=True)

        status = run("events_status")

        assert "channel" in status or "deployment" in status

    @pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
    def test_what_is_forged_is_dead_at_the_first_look(
        self, text: str, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscribe_async(Ordered, after.append, name="h", max_attempts=8)
        Delivery.objects.update(payload=text)

        assert relay(execute=True) == 1

        assert row("h").state == "dead"
        assert row("h").error
        assert after == []
        assert said_at(logging.ERROR, caplog, "Gave up", "h")


class TestReplayWaiting:
    """I : après le déploiement, livrer tout de suite ce qui l’attendait."""

    @pytest.fixture(autouse=True)
    def _rows(self, outbox: None, after: Seen) -> None:
        """Une ligne attend un handler, une autre un code plus récent, une troisième un délai."""
        subscribe_async(OrderPlaced, after.append, name="added")
        subscribe_async(OrderPlaced, raising(lambda: RetryAfter(600)), name="postponed")
        subscribe_async(Ordered, after.append, name="newer")
        publish_event(OrderPlaced())
        publish_event(Ordered(reference="r-1"))
        Delivery.objects.filter(handler="newer").update(
            payload=json.dumps(newer_payload(NEWER["a new member of an enum"]))
        )
        unsubscribe(OrderPlaced, after.append)
        assert relay(execute=True) == 3
        assert relay(execute=True) == 0

    def deploy(self, after: Seen) -> None:
        subscribe_async(OrderPlaced, after.append, name="added")
        Delivery.objects.filter(handler="newer").update(payload=json.dumps(newer_payload({})))

    def test_makes_due_what_waits_for_a_deployment_and_nothing_else(self, after: Seen) -> None:
        self.deploy(after)

        run("replay_events", "--waiting")

        assert relay(execute=True) == 2
        assert len(after) == 2
        assert (row("added").state, row("newer").state) == ("done", "done")
        assert (row("postponed").state, row("postponed").attempts) == ("pending", 1)

    def test_wakes_a_worker(self, after: Seen, memory_broker: MemoryBroker) -> None:
        self.deploy(after)

        run("replay_events", "--waiting")
        while relay():
            pass

        ids = {pk for message in memory_broker.take() for pk in message.payload[0][0]}
        assert ids == {str(row("added").pk), str(row("newer").pk)}

    def test_may_choose_and_count(self, after: Seen) -> None:
        self.deploy(after)

        run("replay_events", "--waiting", "--dry-run")
        assert relay(execute=True) == 0
        run("replay_events", "--waiting", "--handler", "added")

        assert relay(execute=True) == 1
        assert row("added").state == "done"


BAD_ARGUMENTS = [
    ["replay_events", "--id", "nonsense"],
    ["replay_events", "--id", "12345678-1234-1234-1234-123456789abg"],
    ["replay_events", "--id", ""],
    ["replay_events", "--id", "nonsense", "--dry-run"],
    ["prune_events", "--days", "x"],
    ["prune_events", "--days", "-1"],
    ["prune_events", "--days", "1e12"],
    ["prune_events", "--days", "1e400"],
    ["prune_events", "--days", "inf"],
    ["prune_events", "--days", "nan"],
    ["events_status", "--fail-if-older-than", "nan"],
    ["events_status", "--fail-if-older-than", "-1"],
    ["events_status", "--fail-if-older-than", "x"],
    ["replay_events", "--all", "--database", "nope"],
    ["prune_events", "--database", "nope"],
    ["events_status", "--database", "nope"],
    ["relay_events", "--execute", "--once", "--database", "nope"],
    *(
        ["relay_events", "--execute", "--once", "--workers", text]
        for text in ("0", "257", "-1", "x", "1.5", "1e9", "")
    ),
]


class TestCommands:
    """L : un mauvais argument a une réponse d’une ligne."""

    @pytest.mark.parametrize("arguments", BAD_ARGUMENTS, ids=" ".join)
    def test_a_bad_argument_has_an_answer_of_one_line(self, arguments: list[str]) -> None:
        with pytest.raises(CommandError) as caught:
            run(*arguments)

        assert str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_good_one_is_still_good(self, after: Seen) -> None:
        publish_with(print, after)
        pk = row("first").pk

        assert "0" in run("replay_events", "--id", str(pk).upper())
        assert "deleted: 0." in run("prune_events", "--days", "0.5")
        assert "deleted: 0." in run("prune_events", "--days", "36500")
        assert "first" in run("events_status", "--fail-if-older-than", "0.5e9")


class TestWhatComesFromTheHandler:
    """B17 : un handler qui rencontre un inconnu a échoué, il n’attend pas un déploiement."""

    @pytest.mark.parametrize(
        "error", [UnknownEventTypeError, UnknownHandlerError, NewerEventVersionError, PayloadError]
    )
    def test_it_counts_as_a_failure(
        self, error: type[Exception], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(raising(lambda: error("met by the handler")), after, max_attempts=2)

        relay(execute=True)
        has_failed_once(event, after, error="met by the handler")
        assert "deployment" not in caplog.text
        bring_forward()
        relay(execute=True)

        first = row("first")
        assert (first.state, first.attempts) == ("dead", 2)
        assert first.error == f"{error.__name__}: met by the handler"

    def test_an_event_that_is_not_registered_for_one(self, after: Seen) -> None:
        publish_with(lambda event: publish_event(Unregistered()), after, max_attempts=2)

        for _ in range(3):
            relay(execute=True)
            bring_forward()

        assert (row("first").state, row("first").attempts) == ("dead", 2)
        assert "UnknownEventTypeError" in row("first").error

    def test_a_limit_that_is_lowered_keeps_the_honest_error(
        self, after: Seen, settings: Any
    ) -> None:
        publish_with(raising(lambda: ValueError("no paper left")), after)
        for _ in range(5):
            relay(execute=True)
            bring_forward()
        assert (row("first").state, row("first").attempts) == ("pending", 5)

        settings.EVENT_BUS = {"MAX_ATTEMPTS": 3}
        relay(execute=True)

        assert row("first").state == "dead"
        assert "no paper left" in row("first").error
        assert "process was lost" not in row("first").error


@dataclass(frozen=True)
class Unregistered(DomainEvent):
    event_type = "tests.unregistered"
