"""Un jour ordinaire, sans registre : chaque faute finit par un verdict, et le reste continue."""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import amqp.exceptions as amqp
import kombu
import pytest
import redis
from amqp.exceptions import MessageNacked
from celery.exceptions import QueueNotFound
from django.db import connection, transaction
from kombu.exceptions import EncodeError

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    DomainEventError,
    NewerEventVersionError,
    PayloadError,
    SubscriptionError,
    UnfinishedHandlerError,
    UnknownEventTypeError,
    UnknownHandlerError,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    subscribe_sync,
)
from tests.share_kernel.conftest import MemoryBroker
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.misbehaving import (
    AWAITED,
    ENDED,
    FAILED_ELSEWHERE,
    FAILURES,
    LEFT_OPEN,
    LEFT_OPEN_IN_SYNC,
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
    coroutine,
    expects_the_error_in_a_savepoint,
    kept,
    logged,
    never_leaves_an_atomic,
    newer_payload,
    raising,
    swallows_an_integrity_error,
    swallows_in_a_coroutine,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)

Seen = list[Any]
Curse = Callable[[Callable[[], Exception]], Seen]
EVENT = "dispatch_async_event"


@pytest.fixture
def after() -> Seen:
    """Ce que reçoit un handler abonné après tous les autres."""
    return []


def gave_up_on(name: str, event: DomainEvent, caplog: pytest.LogCaptureFixture) -> bool:
    """Dit si une ligne ERROR nomme ce handler et cet événement."""
    return any(
        record.levelno >= logging.ERROR
        and name in record.getMessage()
        and str(event.event_id) in record.getMessage()
        for record in caplog.records
    )


def publish_with(handler: Handler, after: Seen, event: DomainEvent | None = None) -> DomainEvent:
    """Publie un événement dont *handler* est le premier handler, et *after* le second."""
    event = event or OrderPlaced()
    subscribe_async(type(event), handler, name="first")
    subscribe_async(type(event), after.append, name="second")
    publish_event(event)
    return event


def count_runs(make: Callable[[Work], Handler]) -> tuple[Handler, Seen]:
    runs: Seen = []
    return make(lambda: runs.append(1)), runs


class TestUndoneAsync:
    """A : le handler revient, mais Django annule ce qu’il a écrit."""

    @pytest.mark.parametrize("handler", [*UNDONE, swallows_in_a_coroutine])
    def test_it_has_failed(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(handler, after)

        assert gave_up_on("first", event, caplog)
        assert "atomic()" in caplog.text
        assert not Tenant.objects.exists()
        assert after == [event]

    @pytest.mark.parametrize("handler", SOUND)
    def test_what_is_sound_is_believed(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(handler, after)

        assert caplog.records == []
        assert Tenant.objects.get().slug == "written"
        assert after == [event]

    @pytest.mark.parametrize("handler", UNDONE)
    def test_a_worker_runs_it_again(self, handler: Handler, memory_broker: MemoryBroker) -> None:
        subscribe_async(OrderPlaced, handler, name="h")

        assert memory_broker.run(EVENT, OrderPlaced().to_dict(), "h") == "RETRY"

        (message,) = memory_broker.take()
        assert message.headers["retries"] == 1


class TestUndoneSync:
    """A : de même dans la transaction de celui qui publie."""

    @pytest.mark.parametrize("handler", UNDONE)
    def test_it_stops_the_publisher(self, handler: Handler, after: Seen) -> None:
        subscribe_sync(OrderPlaced, handler, name="careless")
        subscribe_async(OrderPlaced, after.append, name="after")

        caught = pytest.raises(DomainEventError, match="in or before handlers")
        with caught as error, transaction.atomic():
            write("order")
            publish_event(OrderPlaced())

        assert "careless" in said(error.value)
        assert "atomic()" in said(error.value)
        assert not Tenant.objects.exists()
        assert after == []

    def test_the_handlers_of_a_bulk_publication_too(self) -> None:
        subscribe_sync(OrderPlaced, swallows_an_integrity_error, name="careless")

        with pytest.raises(DomainEventError, match="in or before handlers"), transaction.atomic():
            publish_events([OrderPaid(), OrderPlaced()])

    @pytest.mark.parametrize("handler", SOUND)
    def test_what_is_sound_is_believed(self, handler: Handler) -> None:
        subscribe_sync(OrderPlaced, handler)

        with transaction.atomic():
            publish_event(OrderPlaced())

        assert Tenant.objects.get().slug == "written"

    def test_a_transaction_marked_before_is_not_our_affair(self, after: Seen) -> None:
        subscribe_sync(OrderPlaced, after.append)

        with transaction.atomic():
            transaction.set_rollback(True)
            publish_event(OrderPlaced())

        assert len(after) == 1

    def test_the_error_of_a_handler_goes_up_unchanged(self) -> None:
        """Un handler qui marque la transaction puis lève : c’est son erreur qui compte."""

        def marks_then_raises(event: DomainEvent) -> None:
            transaction.set_rollback(True)
            raise ZeroDivisionError

        subscribe_sync(OrderPlaced, marks_then_raises)

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_event(OrderPlaced())


class TestLeftOpenSync:
    """A : de même, une transaction que le handler n’a pas fermée : rien ne serait plus validé."""

    @pytest.fixture(autouse=True)
    def _connected(self) -> Iterator[None]:
        connection.ensure_connection()
        yield
        connection.close()

    @pytest.mark.parametrize("handler", LEFT_OPEN)
    def test_it_stops_the_publisher(self, handler: Handler, after: Seen) -> None:
        subscribe_sync(OrderPlaced, handler, name="careless")
        subscribe_async(OrderPlaced, after.append, name="after")

        with pytest.raises((DomainEventError, ValueError)) as caught, transaction.atomic():
            write("order")
            publish_event(OrderPlaced())

        assert "careless" in said(caught.value)
        assert_usable()
        assert not Tenant.objects.exists()
        assert after == []

    @pytest.mark.parametrize("handler", LEFT_OPEN_IN_SYNC)
    def test_without_a_transaction_too(self, handler: Handler, after: Seen) -> None:
        subscribe_sync(OrderPlaced, handler, name="careless")
        subscribe_async(OrderPlaced, after.append, name="after")

        with pytest.raises((DomainEventError, ValueError)) as caught:
            publish_event(OrderPlaced())

        assert "careless" in said(caught.value)
        assert_usable()
        assert not Tenant.objects.exists()
        assert after == []

    def test_the_error_names_who_may_have_done_it_and_what_to_write(self, after: Seen) -> None:
        subscribe_sync(OrderPlaced, after.append, name="first")
        subscribe_sync(OrderPlaced, never_leaves_an_atomic, name="careless")

        with pytest.raises(UnfinishedHandlerError) as caught:
            publish_event(OrderPlaced())

        assert str(caught.value).startswith("Handler first or careless of shop.order_placed ")
        assert "left a transaction open on default" in str(caught.value)
        assert "with transaction.atomic()" in str(caught.value)

    def test_in_a_thread_that_has_no_connection_yet(self) -> None:
        subscribe_sync(OrderPlaced, never_leaves_an_atomic, name="careless")

        def publish() -> str:
            try:
                publish_event(OrderPlaced())
            except UnfinishedHandlerError as error:
                return f"{error} {connection.in_atomic_block}"
            finally:
                connection.close()
            return "it is believed"

        with ThreadPoolExecutor() as pool:
            said = pool.submit(publish).result()

        assert "left a transaction open" in said
        assert said.endswith("False")

    def test_the_publisher_may_go_on_without_it(self) -> None:
        """Seul ce qu’il a laissé ouvert est annulé : l’appelant peut attraper l’erreur."""
        subscribe_sync(OrderPlaced, never_leaves_an_atomic, name="careless")

        with transaction.atomic():
            write("order")
            with pytest.raises(UnfinishedHandlerError), transaction.atomic():
                publish_event(OrderPlaced())

        assert [tenant.slug for tenant in Tenant.objects.all()] == ["order"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Stop])
    def test_what_is_no_exception_goes_up_unchanged(self, error: type[BaseException]) -> None:
        def handler(event: DomainEvent) -> None:
            never_leaves_an_atomic(event)
            raise error

        subscribe_sync(OrderPlaced, handler, name="careless")

        with pytest.raises(error), transaction.atomic():
            publish_event(OrderPlaced())

        assert_usable()
        assert not Tenant.objects.exists()

    def test_a_transaction_that_was_open_before_stays(self, after: Seen) -> None:
        subscribe_sync(OrderPlaced, after.append)
        subscribe_sync(OrderPlaced, expects_the_error_in_a_savepoint)

        with transaction.atomic(), transaction.atomic():
            publish_event(OrderPlaced())
            assert len(connection.atomic_blocks) == 2

        transaction.set_autocommit(False)
        publish_event(OrderPaid())
        assert not transaction.get_autocommit()
        transaction.set_autocommit(True)
        assert len(after) == 1


def assert_usable() -> None:
    assert not connection.in_atomic_block
    assert transaction.get_autocommit()


def said(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


class TestNotRunAsync:
    """A : le handler rend ce qu’il aurait dû exécuter."""

    @pytest.mark.parametrize("make", AWAITED.values(), ids=AWAITED)
    def test_what_can_be_awaited_is(
        self, make: Callable[[Work], Handler], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        handler, runs = count_runs(make)

        event = publish_with(handler, after)

        assert runs == [1]
        assert caplog.records == []
        assert after == [event]

    def test_what_fails_while_awaited_has_failed(
        self, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        def work() -> None:
            raise ValueError("no paper left")

        event = publish_with(logged(coroutine(work)), after)

        assert gave_up_on("first", event, caplog)
        assert "no paper left" in caplog.text
        assert after == [event]

    @pytest.mark.parametrize("make", NEVER_RUN.values(), ids=NEVER_RUN)
    def test_what_never_ran_has_failed(
        self, make: Callable[[Work], Handler], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        handler, runs = count_runs(make)

        event = publish_with(handler, after)

        assert runs == []
        assert gave_up_on("first", event, caplog)
        assert after == [event]

    @pytest.mark.parametrize("handler", FAILED_ELSEWHERE.values(), ids=FAILED_ELSEWHERE)
    def test_what_failed_elsewhere_has_failed(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(handler, after)

        assert gave_up_on("first", event, caplog)
        assert after == [event]

    @pytest.mark.parametrize("result", [None, 3, [1]], ids=repr)
    def test_what_was_done_elsewhere_is_believed(
        self, result: object, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_with(lambda event: kept(result), after)

        assert caplog.records == []

    @pytest.mark.parametrize("value", [None, 0, [1], "text", {"a": 1}, range(3)], ids=repr)
    def test_any_other_value_is_believed(
        self, value: object, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_with(lambda event: value, after)

        assert caplog.records == []


class TestNotRunSync:
    """A : de même dans la transaction, où rien ne peut être attendu."""

    @pytest.mark.parametrize(
        "make", [*AWAITED.values(), *NEVER_RUN.values()], ids=[*AWAITED, *NEVER_RUN]
    )
    def test_the_publisher_is_told(self, make: Callable[[Work], Handler], after: Seen) -> None:
        handler, runs = count_runs(make)
        subscribe_async(OrderPlaced, after.append, name="after")

        # Some are refused at once: what matters is that nobody believes them.
        with pytest.raises(DomainEventError) as caught:
            subscribe_sync(OrderPlaced, handler, name="careless")
            publish_event(OrderPlaced())

        assert isinstance(caught.value, SubscriptionError) or "careless" in said(caught.value)
        assert runs == after == []

    @pytest.mark.parametrize("handler", FAILED_ELSEWHERE.values(), ids=FAILED_ELSEWHERE)
    def test_what_failed_elsewhere_stops_the_publisher(self, handler: Handler, after: Seen) -> None:
        subscribe_async(OrderPlaced, after.append, name="after")

        with pytest.raises(BaseException) as caught:  # noqa: PT011  (whatever failed there)
            subscribe_sync(OrderPlaced, handler, name="careless")
            publish_event(OrderPlaced())

        assert isinstance(caught.value, SubscriptionError) or "careless" in said(caught.value)
        assert after == []

    def test_any_other_value_is_believed(self) -> None:
        for number, value in enumerate([None, 0, [1], "text", range(3), kept(), kept(3)]):
            subscribe_sync(OrderPlaced, functools.partial(returning, value), name=f"h{number}")

        publish_event(OrderPlaced())


def returning(value: object, event: DomainEvent) -> object:
    return value


def stream(event: DomainEvent) -> Any:
    yield


async def async_stream(event: DomainEvent) -> Any:
    yield


class Streams:
    def method(self, event: DomainEvent) -> Any:
        yield

    def __call__(self, event: DomainEvent) -> Any:
        yield


@pytest.mark.parametrize("subscribe", [subscribe_sync, subscribe_async])
@pytest.mark.parametrize(
    "handler",
    [
        stream,
        async_stream,
        functools.partial(stream),
        functools.partial(async_stream),
        Streams().method,
        Streams(),
    ],
    ids=["function", "async", "partial", "async partial", "method", "instance"],
)
def test_a_generator_function_is_refused_at_subscription(
    subscribe: Callable[..., Any], handler: Handler
) -> None:
    with pytest.raises(SubscriptionError, match="generator"):
        subscribe(OrderPlaced, handler, name="stream")


BAD_ENDS = FAILURES | ENDED


class TestBadEnds:
    """B : quoi que lève un handler, son essai a un verdict, et les autres s’exécutent."""

    @pytest.mark.parametrize("handler", BAD_ENDS.values(), ids=BAD_ENDS)
    def test_it_is_a_failure_like_another(
        self, handler: Handler, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(handler, after)

        assert gave_up_on("first", event, caplog)
        assert after == [event]

    @pytest.mark.parametrize("handler", BAD_ENDS.values(), ids=BAD_ENDS)
    def test_a_worker_runs_it_again(self, handler: Handler, memory_broker: MemoryBroker) -> None:
        subscribe_async(OrderPlaced, handler, name="h")

        assert memory_broker.run(EVENT, OrderPlaced().to_dict(), "h") == "RETRY"

        (message,) = memory_broker.take()
        assert message.headers["retries"] == 1

    @pytest.mark.parametrize("handler", FAILURES.values(), ids=FAILURES)
    def test_a_batch_goes_on(
        self, handler: Handler, memory_broker: MemoryBroker, after: Seen
    ) -> None:
        subscribe_async(OrderPlaced, handler, name="h")
        subscribe_async(OrderPaid, after.append, name="after")
        items = [
            {"payload": OrderPlaced().to_dict(), "handler": "h", "depth": 0},
            {"payload": OrderPaid().to_dict(), "handler": "after", "depth": 0},
        ]

        assert memory_broker.run("dispatch_async_batch", items) == "SUCCESS"

        assert len(after) == 1
        (message,) = memory_broker.take()
        assert (message.payload[0][1], message.headers["retries"]) == ("h", 1)

    def test_a_request_to_stop_goes_up_once_the_others_have_run(
        self, after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = OrderPlaced(), OrderPlaced()
        subscribe_async(OrderPlaced, stops_on(first), name="stops")
        subscribe_async(OrderPlaced, after.append, name="after")

        with pytest.raises(SystemExit), transaction.atomic():
            publish_events([first, second])

        assert after == [first, second]
        assert gave_up_on("stops", first, caplog)
        assert not gave_up_on("stops", second, caplog)

    def test_the_keyboard_interrupts(self) -> None:
        subscribe_async(OrderPlaced, raising(KeyboardInterrupt), name="stops")

        with pytest.raises(KeyboardInterrupt):
            publish_event(OrderPlaced())

    def test_a_request_to_stop_goes_up_to_celery(self, memory_broker: MemoryBroker) -> None:
        """Celery en compte un processus perdu."""
        subscribe_async(OrderPlaced, raising(SystemExit), name="stops")

        with pytest.raises(SystemExit):
            memory_broker.run(EVENT, OrderPlaced().to_dict(), "stops")

        assert memory_broker.take() == []

    @pytest.mark.parametrize("make", UNPRINTABLE.values(), ids=UNPRINTABLE)
    def test_an_error_that_cannot_be_written_is_a_failure_like_another(
        self, make: Callable[[], Exception], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        event = publish_with(raising(make), after)

        assert gave_up_on("first", event, caplog)
        assert type(make()).__name__ in caplog.text
        assert after == [event]

    @pytest.mark.parametrize("make", UNPRINTABLE.values(), ids=UNPRINTABLE)
    def test_a_worker_tries_it_as_often_as_any(
        self,
        make: Callable[[], Exception],
        memory_broker: MemoryBroker,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        subscribe_async(OrderPlaced, raising(make), name="h", max_attempts=2)
        event = OrderPlaced()

        assert memory_broker.run(EVENT, event.to_dict(), "h") == "RETRY"
        assert len(memory_broker.take()) == 1
        assert not gave_up_on("h", event, caplog)
        assert memory_broker.run(EVENT, event.to_dict(), "h", retries=1) == "FAILURE"
        assert memory_broker.take() == []
        assert gave_up_on("h", event, caplog)


def stops_on(event: DomainEvent) -> Handler:
    def handler(received: DomainEvent) -> None:
        if received == event:
            raise SystemExit

    return handler


class TestCallbacksOfAHandler:
    """B : ce qu’un handler a prévu pour après son commit échoue, et lui n’a pas échoué."""

    @pytest.fixture
    def steps(self) -> list[str]:
        return []

    @pytest.fixture(params=[ZeroDivisionError, StrRaises, Stop, asyncio.CancelledError])
    def service(self, request: pytest.FixtureRequest, steps: list[str]) -> Handler:
        """Un handler dont le deuxième rappel échoue, de toutes les façons."""

        def broken() -> None:
            raise request.param

        def handler(event: DomainEvent) -> None:
            write()
            steps.append("handler")
            transaction.on_commit(lambda: steps.append("callback before"))
            transaction.on_commit(broken)
            publish_event(OrderPaid())
            transaction.on_commit(lambda: steps.append("callback after"))

        return handler

    def test_the_others_run_and_nothing_escapes(
        self, service: Handler, steps: list[str], after: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        paid: Seen = []
        subscribe_async(OrderPaid, paid.append, name="paid")

        event = publish_with(service, after)

        assert steps == ["handler", "callback before", "callback after"]
        assert Tenant.objects.exists()
        assert len(paid) == 1
        assert after == [event]
        assert names_the_handler("first", caplog)

    def test_a_worker_does_not_run_it_again(
        self,
        service: Handler,
        steps: list[str],
        memory_broker: MemoryBroker,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        subscribe_async(OrderPlaced, service, name="first")
        subscribe_async(OrderPaid, lambda event: None, name="paid")

        assert memory_broker.run(EVENT, OrderPlaced().to_dict(), "first") == "SUCCESS"

        assert steps == ["handler", "callback before", "callback after"]
        assert [message.payload[0][1] for message in memory_broker.take()] == ["paid"]
        assert names_the_handler("first", caplog)

    def test_in_the_callers_transaction_the_rule_is_djangos(self) -> None:
        subscribe_sync(OrderPlaced, lambda event: transaction.on_commit(lambda: 1 // 0))

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_event(OrderPlaced())


def names_the_handler(name: str, caplog: pytest.LogCaptureFixture) -> bool:
    return any(
        record.levelno >= logging.ERROR and f"{name} " in f"{record.getMessage()} "
        for record in caplog.records
    )


# C: failures to send that are the message's own, and failures of the broker.

OWN: dict[str, Callable[[], Exception]] = {
    "an unknown queue": lambda: QueueNotFound("Queue 'cursed' missing from task_queues"),
    "a text that cannot be encoded": lambda: EncodeError("not JSON"),
    "a queue that does not exist (404)": lambda: amqp.NotFound("no queue", (50, 10)),
    "a queue with other arguments (406)": lambda: amqp.PreconditionFailed("inequivalent", (50, 10)),
    "a queue of another connection (405)": lambda: amqp.ResourceLocked("exclusive", (50, 10)),
    "a message too large (311)": lambda: amqp.ContentTooLarge("too large", (60, 40)),
    "a full queue": lambda: MessageNacked("nacked"),
}


def caused_by_itself() -> Exception:
    """Ce que fait « raise error from error »."""
    error = RuntimeError("whatever")
    error.__cause__ = error
    return error


BROKEN: dict[str, Callable[[], Exception]] = {
    "a refused connection": lambda: ConnectionRefusedError(111, "Connection refused"),
    "a time-out": lambda: TimeoutError("timed out"),
    "a reset": lambda: ConnectionResetError(104, "reset by peer"),
    "a refused access (403)": lambda: amqp.AccessRefused("not you", (10, 10)),
    "a broker out of memory": lambda: redis.exceptions.OutOfMemoryError("OOM"),
    "a broker that only reads": lambda: redis.exceptions.ReadOnlyError("READONLY"),
    "an unknown error": lambda: RuntimeError("whatever"),
    "an error that is its own cause": caused_by_itself,
}


def wrapped(make: Callable[[], Exception]) -> Callable[[], Exception]:
    """Ce que kombu fait de beaucoup d’erreurs de transport."""

    def make_wrapped() -> Exception:
        error = kombu.exceptions.OperationalError("kombu says so")
        error.__cause__ = make()
        return error

    return make_wrapped


def both_ways(
    errors: dict[str, Callable[[], Exception]],
) -> dict[str, Callable[[], Exception]]:
    once = {f"{name}, wrapped": wrapped(make) for name, make in errors.items()}
    twice = {f"{name}, wrapped twice": wrapped(wrapped(make)) for name, make in errors.items()}
    return errors | once | twice


@pytest.fixture
def cursed(memory_broker: MemoryBroker) -> Curse:
    """Fait échouer tout envoi vers la file ``cursed`` ; renvoie ce qui a été tenté."""

    def curse(make: Callable[[], Exception]) -> Seen:
        tried: Seen = []

        def route(name: str, args: Any, kwargs: Any, options: Any, **_: Any) -> None:
            tried.append(name)
            if getattr(options.get("queue"), "name", "") == "cursed":
                raise make()

        memory_broker.app.conf.update(task_routes=(route,))
        return tried

    return curse


@pytest.fixture
def ran() -> Seen:
    """Les handlers exécutés ici : ``misrouted``, de la file ``cursed``, puis ``healthy``."""
    names: Seen = []
    subscribe_async(
        OrderPlaced, lambda event: names.append("misrouted"), name="misrouted", queue="cursed"
    )
    subscribe_async(OrderPlaced, lambda event: names.append("healthy"), name="healthy")
    return names


def handlers_in(messages: list[Any]) -> list[str]:
    return [message.payload[0][1] for message in messages]


class TestMisrouted:
    """C : ce qui n’est la faute que d’un message ne passe pas pour une panne du broker."""

    @pytest.mark.parametrize("make", both_ways(OWN).values(), ids=both_ways(OWN))
    def test_it_runs_here_and_the_next_one_leaves(
        self,
        make: Callable[[], Exception],
        cursed: Curse,
        memory_broker: MemoryBroker,
        ran: Seen,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        cursed(make)
        event = OrderPlaced()

        for _ in range(2):  # the second one, too: no circuit breaker is open
            publish_event(event)
            assert handlers_in(memory_broker.take()) == ["healthy"]

        assert ran == ["misrouted", "misrouted"]
        assert gave_an_error_about(event, caplog, "misrouted", "cursed")
        cause: BaseException = make()
        while cause.__cause__:  # kombu’s envelopes say less
            cause = cause.__cause__
        assert f": {type(cause).__name__}" in caplog.text

    def test_a_queue_that_celery_must_not_create_is_one(
        self, memory_broker: MemoryBroker, ran: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Pour de vrai : une faute de frappe dans ``queue=``."""
        memory_broker.app.conf.update(
            task_queues=[kombu.Queue("celery")], task_create_missing_queues=False
        )
        event = OrderPlaced()

        publish_event(event)

        assert handlers_in(memory_broker.take()) == ["healthy"]
        assert ran == ["misrouted"]
        assert gave_an_error_about(event, caplog, "misrouted", "cursed")

    def test_a_bulk_publication_goes_on(
        self, cursed: Curse, memory_broker: MemoryBroker, ran: Seen
    ) -> None:
        cursed(OWN["an unknown queue"])

        publish_events([OrderPlaced(), OrderPlaced()])

        (message,) = memory_broker.take()
        assert [item["handler"] for item in message.payload[0][0]] == ["healthy", "healthy"]
        assert ran == ["misrouted", "misrouted"]

    @pytest.mark.parametrize("make", both_ways(BROKEN).values(), ids=both_ways(BROKEN))
    def test_a_failure_of_the_broker_stops_what_follows(
        self,
        make: Callable[[], Exception],
        cursed: Curse,
        memory_broker: MemoryBroker,
        ran: Seen,
    ) -> None:
        tried = cursed(make)

        publish_event(OrderPlaced())
        publish_event(OrderPlaced())

        assert len(tried) == 1
        assert memory_broker.take() == []
        assert ran == ["misrouted", "healthy", "misrouted", "healthy"]


def gave_an_error_about(event: DomainEvent, caplog: pytest.LogCaptureFixture, *words: str) -> bool:
    return any(
        record.levelno == logging.ERROR
        and all(word in record.getMessage() for word in (str(event.event_id), *words))
        for record in caplog.records
    )


class TestWhatComesFromTheHandler:
    """B17 : un handler qui rencontre un inconnu a échoué, il n’attend pas un déploiement."""

    @pytest.mark.parametrize(
        "error",
        [UnknownEventTypeError, UnknownHandlerError, NewerEventVersionError, PayloadError],
    )
    def test_a_worker_counts_it_as_a_failure(
        self,
        error: type[Exception],
        memory_broker: MemoryBroker,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def handler(event: DomainEvent) -> None:
            raise error("met by the handler")

        subscribe_async(OrderPlaced, handler, name="h", max_attempts=2)
        payload = OrderPlaced().to_dict()

        assert memory_broker.run(EVENT, payload, "h") == "RETRY"
        (message,) = memory_broker.take()
        assert (message.headers["retries"], message.headers["share_kernel_skews"]) == (1, 0)

        assert memory_broker.run(EVENT, payload, "h", retries=1) == "FAILURE"
        assert memory_broker.take() == []
        assert "Gave up on handler h" in caplog.text

    def test_an_event_that_is_not_registered_for_one(self, memory_broker: MemoryBroker) -> None:
        subscribe_async(
            OrderPlaced, lambda event: publish_event(Unregistered()), name="h", max_attempts=2
        )

        assert memory_broker.run(EVENT, OrderPlaced().to_dict(), "h", retries=1) == "FAILURE"
        assert memory_broker.take() == []


@dataclass(frozen=True)
class Unregistered(DomainEvent):
    event_type = "tests.unregistered"


FORGED: dict[str, tuple[Any, Any, Any]] = {
    "a number": (42, "h", 0),
    "nothing": (None, "h", 0),
    "a list": ([1], "h", 0),
    "a text": ("text", "h", 0),
    "an empty mapping": ({}, "h", 0),
    "no type": (newer_payload({"event_type": ...}), "h", 0),
    "a number for a type": (newer_payload({"event_type": 3}), "h", 0),
    "no event_id": (newer_payload({"event_id": ...}), "h", 0),
    "an event_id that is none": (newer_payload({"event_id": "x"}), "h", 0),
    "null for an event_id": (newer_payload({"event_id": None}), "h", 0),
    "a text for a version": (newer_payload({"event_version": "x"}), "h", 0),
    "version 0": (newer_payload({"event_version": 0}), "h", 0),
    "version 1.5": (newer_payload({"event_version": 1.5}), "h", 0),
    "true for a version": (newer_payload({"event_version": True}), "h", 0),
    "a number for a handler": (newer_payload({}), 42, 0),
    "nothing for a handler": (newer_payload({}), None, 0),
    "a list for a handler": (newer_payload({}), ["h"], 0),
    "a text for a depth": (newer_payload({}), "h", "deep"),
    "nothing for a depth": (newer_payload({}), "h", None),
    "a fraction for a depth": (newer_payload({}), "h", 1.5),
}


class TestWrittenByNewerCode:
    """I : ce qu’un code plus récent a écrit attend un déploiement, sans rien user."""

    @pytest.mark.parametrize("changes", NEWER.values(), ids=NEWER)
    def test_it_waits(
        self,
        changes: dict[str, Any],
        memory_broker: MemoryBroker,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        subscribe_async(Ordered, print, name="h", max_attempts=1)

        assert memory_broker.run(EVENT, newer_payload(changes), "h") == "RETRY"

        (message,) = memory_broker.take()
        assert (message.headers["retries"], message.headers["share_kernel_skews"]) == (0, 1)
        assert "deployment" in caplog.text
        assert next(iter(changes)) in caplog.text

    @pytest.mark.parametrize("changes", NEWER.values(), ids=NEWER)
    def test_it_waits_alone_of_its_batch(
        self, changes: dict[str, Any], memory_broker: MemoryBroker, after: Seen
    ) -> None:
        subscribe_async(Ordered, after.append, name="h")
        items = [
            {"payload": payload, "handler": "h", "depth": 0}
            for payload in (newer_payload(changes), newer_payload({}))
        ]

        assert memory_broker.run("dispatch_async_batch", items) == "SUCCESS"

        assert len(after) == 1
        (message,) = memory_broker.take()
        assert (message.headers["retries"], message.headers["share_kernel_skews"]) == (0, 1)

    @pytest.mark.parametrize(("payload", "handler", "depth"), FORGED.values(), ids=FORGED)
    def test_what_is_forged_is_given_up_at_the_first_look(
        self,
        payload: Any,
        handler: Any,
        depth: Any,
        memory_broker: MemoryBroker,
        after: Seen,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        subscribe_async(Ordered, after.append, name="h")

        assert memory_broker.run(EVENT, payload, handler, depth) == "FAILURE"

        assert memory_broker.take() == []
        assert after == []
        assert "Gave up on handler" in caplog.text


class TestLimits:
    """L : la longueur d’un nom est connue à l’abonnement, pas à l’écriture."""

    def test_the_longest_name_is_accepted(self) -> None:
        subscribe_async(OrderPlaced, print, name="n" * 255)

    def test_a_longer_one_is_refused(self) -> None:
        with pytest.raises(SubscriptionError, match="255"):
            subscribe_async(OrderPlaced, print, name="n" * 256)

    def test_a_longer_natural_one_too(self) -> None:
        def handler(event: DomainEvent) -> None: ...

        handler.__qualname__ = "n" * 255

        with pytest.raises(SubscriptionError, match="255"):
            subscribe_async(OrderPlaced, handler)

    def test_a_decorated_one_too(self) -> None:
        with pytest.raises(SubscriptionError, match="255"):
            subscribe_async(OrderPlaced, name="é" * 256)(print)

    def test_a_sync_handler_has_no_column(self) -> None:
        subscribe_sync(OrderPlaced, print, name="n" * 300)
