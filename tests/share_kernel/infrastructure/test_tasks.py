"""Les messages du chemin léger et ce qu’un worker en fait, par un broker en mémoire."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from celery.signals import task_retry
from django.db import connection, connections, transaction
from django.utils import timezone

from src.share_kernel.domain.domain_event import DomainEvent, PermanentFailure, RetryAfter
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    unsubscribe,
)
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.mailbox import MEMORY, QUEUE, REFUSED, Letter, Mailbox

pytestmark = [pytest.mark.django_db(transaction=True)]

EVENT = "share_kernel.dispatch_async_event"
BATCH = "share_kernel.dispatch_async_batch"
Seen = list[Any]


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def failing_with(error: Exception, **options: Any) -> Seen:
    runs: Seen = []

    def fail(event: DomainEvent) -> None:
        runs.append(event)
        raise error

    subscribe_async(OrderPlaced, fail, name="failing", **options)
    return runs


def letter_for(event: DomainEvent, handler: str = "failing", depth: int = 0) -> Letter:
    return Letter(EVENT, [event.to_dict(), handler, depth, "default"], {})


@contextmanager
def connected(signal: Any, receiver: Any) -> Iterator[None]:
    signal.connect(receiver)
    yield
    signal.disconnect(receiver)


def wait_of(letter: Letter) -> timedelta:
    """Renvoie combien de temps un worker garde ce message avant de l’exécuter."""
    return datetime.fromisoformat(letter.headers["eta"]) - timezone.now()


class TestMessages:
    def test_one_for_each_handler(self, seen: Seen, mailbox: Mailbox) -> None:
        failing_with(ValueError())
        event = OrderPlaced()

        publish_event(event)

        assert [(letter.task, letter.args) for letter in mailbox.take()] == [
            (EVENT, [event.to_dict(), "seen", 0, "default"]),
            (EVENT, [event.to_dict(), "failing", 0, "default"]),
        ]
        assert seen == []

    def test_leave_after_the_commit_and_never_if_it_is_rolled_back(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        with transaction.atomic():
            publish_event(OrderPlaced())
            assert mailbox.take() == []
        assert len(mailbox.take()) == 1

        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_event(OrderPlaced())
            raise ZeroDivisionError
        assert mailbox.take() == []

    def test_go_to_the_queue_of_their_handler(self, seen: Seen, mailbox: Mailbox) -> None:
        failing_with(ValueError(), queue="slow")

        publish_event(OrderPlaced())

        assert [letter.args[1] for letter in mailbox.take()] == ["seen"]
        assert [letter.args[1] for letter in mailbox.take("slow")] == ["failing"]

    def test_say_what_they_are_about_without_their_content(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        event = OrderPlaced(order_id="secret-7")

        publish_event(event)

        (letter,) = mailbox.take()
        assert f"shop.order_placed {event.event_id}" in letter.headers["argsrepr"]
        assert "seen" in letter.headers["argsrepr"]
        assert "secret-7" not in str(letter.headers)
        assert letter.headers["ignore_result"] is True

    def test_carry_the_depth_of_the_chain(self, seen: Seen, mailbox: Mailbox) -> None:
        subscribe_async(OrderPaid, lambda event: publish_event(OrderPlaced()), name="again")
        letter_for(OrderPaid(), "again", depth=3).run()

        (letter,) = mailbox.take()

        assert letter.args[2] == 4

    def test_a_bulk_publication_shares_them_by_queue_in_order(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        failing_with(ValueError(), queue="slow")
        publish_events([OrderPlaced(order_id=str(number)) for number in range(250)])

        for queue, handler in ((QUEUE, "seen"), ("slow", "failing")):
            letters = mailbox.take(queue)
            assert [letter.task for letter in letters] == [BATCH] * 3
            assert {letter.args[1] for letter in letters} == {"default"}
            items = [item for letter in letters for item in letter.args[0]]
            assert {item["handler"] for item in items} == {handler}
            numbers = [item["payload"]["order_id"] for item in items]
            assert numbers == [str(number) for number in range(250)]

    @pytest.mark.parametrize(("count", "messages"), [(100, 1), (101, 2)])
    def test_a_message_holds_a_hundred_handlers(
        self, seen: Seen, mailbox: Mailbox, count: int, messages: int
    ) -> None:
        publish_events([OrderPlaced() for _ in range(count)])

        assert len(mailbox.take()) == messages

    def test_an_event_alone_in_a_bulk_publication_shares_nothing(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        publish_events([OrderPlaced()])

        assert [letter.task for letter in mailbox.take()] == [EVENT]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestOtherDatabase:
    def test_is_named_by_the_messages_and_used_by_the_attempt(self, mailbox: Mailbox) -> None:
        inside: list[bool] = []
        subscribe_async(
            OrderPlaced, lambda event: inside.append(connections["other"].in_atomic_block), name="h"
        )
        publish_event(OrderPlaced(), using="other")
        publish_events([OrderPlaced(), OrderPlaced()], using="other")

        single, batch = mailbox.take()

        assert single.args[3] == batch.args[1] == "other"
        assert [single.run(), batch.run()] == ["SUCCESS", "SUCCESS"]
        assert inside == [True] * 3

    def test_is_still_named_by_what_is_sent_again(self, mailbox: Mailbox) -> None:
        failing_with(ValueError("no paper left"))
        payload = OrderPlaced().to_dict()

        Letter(EVENT, [payload, "failing", 0, "other"], {}).run()
        Letter(BATCH, [[{"payload": payload, "handler": "failing"}], "other"], {}).run()

        assert [letter.args[3] for letter in mailbox.take()] == ["other", "other"]

    def test_its_commit_is_the_one_that_is_waited_for(self, mailbox: Mailbox) -> None:
        failing_with(ValueError("no paper left"))
        with transaction.atomic(using="other"):
            with transaction.atomic():
                publish_event(OrderPlaced(), using="other")
            assert mailbox.take() == []
        assert len(mailbox.take()) == 1


class TestBrokenBroker:
    def test_the_handlers_run_here_in_order_and_one_attempt_is_made(
        self, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        order: list[str] = []
        subscribe_async(OrderPlaced, lambda event: order.append(event.order_id + "a"), name="a")
        subscribe_async(OrderPlaced, lambda event: order.append(event.order_id + "b"), name="b")
        mailbox.use(REFUSED)

        with transaction.atomic():
            publish_event(OrderPlaced(order_id="1"))
            publish_event(OrderPlaced(order_id="2"))

        assert order == ["1a", "1b", "2a", "2b"]
        assert caplog.text.count("The broker failed") == 1
        assert "No connection was made, so nothing was sent." in caplog.text

    def test_a_bulk_publication_runs_here_in_order_too(
        self, seen: Seen, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        mailbox.use(REFUSED)

        publish_events([OrderPlaced(order_id=str(number)) for number in range(250)])

        assert [event.order_id for event in seen] == [str(number) for number in range(250)]
        assert caplog.text.count("The broker failed") == 1

    @pytest.mark.parametrize(("seconds", "sent"), [(60, 0), (0, 1)])
    def test_it_is_left_alone_for_a_moment(
        self, seen: Seen, mailbox: Mailbox, settings: Any, seconds: int, sent: int
    ) -> None:
        settings.EVENT_BUS = {"BREAKER_SECONDS": seconds}
        mailbox.use(REFUSED)
        publish_event(OrderPlaced())
        mailbox.use(MEMORY)

        publish_event(OrderPlaced())

        assert len(mailbox.take()) == sent
        assert len(seen) == 2 - sent

    def test_a_connection_that_may_have_carried_the_message_says_so(
        self, seen: Seen, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Un transport qui n’existe pas échoue sans qu’aucune connexion ne soit refusée."""
        mailbox.use("unheard://127.0.0.1")

        publish_event(OrderPlaced())

        assert len(seen) == 1
        assert "The broker failed" in caplog.text
        assert "The message may have arrived all the same" in caplog.text


class TestAvailability:
    @pytest.mark.parametrize(
        ("url", "changes", "sent"),
        [
            (MEMORY, {}, 1),
            (MEMORY, {"task_always_eager": True}, 0),
            (None, {}, 0),
            (None, {"broker_write_url": MEMORY}, 1),
        ],
    )
    def test_a_broker_is_what_the_current_application_names(
        self, seen: Seen, mailbox: Mailbox, url: str | None, changes: dict[str, Any], sent: int
    ) -> None:
        mailbox.use(url, **changes)

        publish_event(OrderPlaced())

        assert len(mailbox.take()) == sent
        assert len(seen) == 1 - sent


entered: list[str] = []


@contextmanager
def tenant(tenant_id: str) -> Iterator[None]:
    entered.append(f"enter {tenant_id}")
    yield
    entered.append("leave")


class TestAttempt:
    def test_runs_the_handler_and_sends_nothing(self, seen: Seen, mailbox: Mailbox) -> None:
        event = OrderPlaced(items=["pen"])
        publish_event(event)
        (letter,) = mailbox.take()

        assert letter.run() == "SUCCESS"

        assert seen == [event]
        assert mailbox.take() == []

    def test_has_the_tenants_context_round_its_handler_and_its_callbacks(
        self, mailbox: Mailbox, settings: Any
    ) -> None:
        """Ce que le handler prévoit pour après son commit est encore chez ce tenant."""
        settings.EVENT_BUS = {"TENANT_CONTEXT": f"{__name__}.tenant"}
        entered.clear()

        def handle(event: OrderPlaced) -> None:
            entered.append(f"in a transaction: {connection.in_atomic_block}")
            transaction.on_commit(lambda: entered.append("committed"))

        subscribe_async(OrderPlaced, handle, name="failing")

        assert letter_for(OrderPlaced(tenant_id="acme")).run() == "SUCCESS"

        inside, after = ["in a transaction: True"], ["committed"]
        assert entered == ["enter acme", *inside, "leave", "enter acme", *after, "leave"]

    def test_a_failure_is_sent_again_alone_and_counted(
        self, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        runs = failing_with(RetryAfter(600, "closed for lunch"), max_attempts=3)
        event = OrderPlaced(correlation_id=UUID(int=7))
        letter, states = letter_for(event), []
        for _ in range(2):
            states.append(letter.run())
            (letter,) = mailbox.take()
            assert timedelta(minutes=5) < wait_of(letter) <= timedelta(minutes=10)
            assert letter.args == letter_for(event).args
        states.append(letter.run())

        assert states == ["RETRY", "RETRY", "FAILURE"]
        assert mailbox.take() == []
        assert len(runs) == 3
        first, second, gave_up = [item for item in caplog.records if item.name == "share_kernel"]
        assert (first.levelno, gave_up.levelno) == (logging.WARNING, logging.ERROR)
        assert f"shop.order_placed {event.event_id}" in first.getMessage()
        assert "1 of 3" in first.getMessage()
        assert "2 of 3" in second.getMessage()
        assert "600.0 s: closed for lunch" in first.getMessage()
        assert first.exc_info
        assert "Gave up on handler failing for event shop.order_placed" in gave_up.getMessage()
        for record in (first, gave_up):
            assert vars(record)["correlation_id"] == str(UUID(int=7))

    def test_what_is_sent_again_stays_in_its_queue(self, mailbox: Mailbox) -> None:
        failing_with(ValueError("no paper left"))

        letter_for(OrderPlaced()).run(routing_key="slow")

        assert mailbox.take() == []
        (letter,) = mailbox.take("slow")
        assert letter.args[1] == "failing"

    def test_the_settings_say_how_many_attempts(self, mailbox: Mailbox, settings: Any) -> None:
        settings.EVENT_BUS = {"MAX_ATTEMPTS": 2}
        failing_with(ValueError("no paper left"))

        letter_for(OrderPlaced()).run()
        (letter,) = mailbox.take()

        assert letter.run() == "FAILURE"
        assert mailbox.take() == []

    def test_what_is_sent_again_keeps_its_identifier(self, mailbox: Mailbox) -> None:
        """Sinon, révoquer une tâche n’arrêterait pas ses essais suivants."""
        failing_with(ValueError("no paper left"))

        letter_for(OrderPlaced()).run(task_id="the-task")

        (letter,) = mailbox.take()
        assert letter.headers["id"] == "the-task"

    def test_celery_is_told_why_and_when(self, mailbox: Mailbox) -> None:
        failing_with(RetryAfter(600, "closed for lunch"))
        told: list[Any] = []

        def keep(reason: Any, **_: Any) -> None:
            told.append(reason)

        with connected(task_retry, keep):
            letter_for(OrderPlaced()).run()

        (letter,), (reason,) = mailbox.take(), told
        assert str(reason.exc) == "closed for lunch"
        assert abs(reason.when - datetime.fromisoformat(letter.headers["eta"])) < timedelta(
            minutes=5
        )

    def test_what_is_sent_again_stays_in_its_exchange(
        self, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing_with(ValueError("no paper left"))
        sent: dict[str, Any] = {}
        task = current_app.tasks[EVENT]
        monkeypatch.setattr(task, "apply_async", lambda **options: sent.update(options))

        task.apply(tuple(letter_for(OrderPlaced()).args), exchange="shop", routing_key="slow")

        assert (sent["exchange"], sent["routing_key"]) == ("shop", "slow")

    def test_a_delay_of_zero_is_none(self, mailbox: Mailbox) -> None:
        failing_with(RetryAfter(0))

        letter_for(OrderPlaced()).run()

        (letter,) = mailbox.take()
        assert letter.headers["eta"] is None

    def test_no_delay_exceeds_what_a_broker_bears(self, mailbox: Mailbox) -> None:
        failing_with(RetryAfter(10**6, "next year"))

        letter_for(OrderPlaced()).run()

        (letter,) = mailbox.take()
        assert timedelta(minutes=10) < wait_of(letter) <= timedelta(minutes=15)

    def test_a_permanent_failure_is_given_up_at_once(
        self, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing_with(PermanentFailure("left the company"))

        assert letter_for(OrderPlaced()).run() == "FAILURE"

        assert mailbox.take() == []
        assert "Gave up on handler failing" in caplog.text

    def test_without_a_broker_the_message_is_given_back(
        self, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing_with(ValueError("no paper left"))
        mailbox.use(REFUSED)

        outcome = letter_for(OrderPlaced()).outcome()

        assert outcome.state == "REJECTED"
        assert outcome.result.requeue is True
        assert "no paper left" in caplog.text
        assert "Gave up" not in caplog.text

    def test_called_like_a_function_it_raises_and_sends_nothing(self, mailbox: Mailbox) -> None:
        failing_with(ValueError("no paper left"))

        with pytest.raises(ValueError, match="no paper left"):
            current_app.tasks[EVENT](*letter_for(OrderPlaced()).args)

        assert mailbox.take() == []


class TestDeploySkew:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, "is named 'failing'"),
            ({"event_type": "shop.new"}, "registered as 'shop.new'"),
            ({"event_version": 9}, "is of version 9"),
        ],
    )
    def test_waits_without_using_attempts_then_gives_up(
        self, mailbox: Mailbox, caplog: pytest.LogCaptureFixture,
        changes: dict[str, Any], words: str,
    ) -> None:  # fmt: skip
        payload = OrderPlaced().to_dict() | changes
        letter = Letter(EVENT, [payload, "failing"], {})

        assert letter.run(retries=6) == "RETRY"

        assert words in caplog.text
        (again,) = mailbox.take()
        assert again.headers["retries"] == 6
        assert timedelta(minutes=5) < wait_of(again) <= timedelta(minutes=15)
        looks = again.headers["share_kernel_skews"]
        before_last = Letter(EVENT, letter.args, {"share_kernel_skews": looks + 141})
        assert before_last.run() == "RETRY"
        mailbox.take()
        last = Letter(EVENT, letter.args, {"share_kernel_skews": looks + 142})
        assert last.run(retries=6) == "FAILURE"
        assert mailbox.take() == []
        assert "Gave up on handler failing" in caplog.text

    def test_is_over_when_the_handler_is_there(self, seen: Seen, mailbox: Mailbox) -> None:
        unsubscribe(OrderPlaced, seen.append)
        letter_for(OrderPlaced(), "seen").run()
        (letter,) = mailbox.take()
        subscribe_async(OrderPlaced, seen.append, name="seen")

        assert letter.run() == "SUCCESS"
        assert len(seen) == 1

    @pytest.mark.parametrize("skews", ["many", None, [1]])
    def test_a_forged_count_is_none(self, mailbox: Mailbox, skews: Any) -> None:
        Letter(EVENT, letter_for(OrderPlaced()).args, {"share_kernel_skews": skews}).run()

        (letter,) = mailbox.take()
        assert letter.headers["share_kernel_skews"] == 1


class TestBatch:
    def items(self, *handlers: str) -> list[dict[str, Any]]:
        return [
            {"payload": OrderPlaced(order_id=str(number)).to_dict(), "handler": name, "depth": 0}
            for number, name in enumerate(handlers)
        ]

    def test_one_failure_is_sent_again_alone_and_stops_nothing(
        self, seen: Seen, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing_with(ValueError("no paper left"))
        items = self.items("seen", "failing", "unheard", "seen")

        assert Letter(BATCH, [items, "default"], {}).run() == "SUCCESS"

        assert [event.order_id for event in seen] == ["0", "3"]
        failed, skewed = mailbox.take()
        assert (failed.task, failed.args) == (EVENT, [items[1]["payload"], "failing", 0, "default"])
        assert failed.headers["retries"] == 1
        assert (skewed.args[1], skewed.headers["share_kernel_skews"]) == ("unheard", 1)
        assert skewed.headers["retries"] == 0
        assert "no paper left" in caplog.text

    def test_giving_one_up_is_logged_and_stops_nothing(
        self, seen: Seen, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing_with(PermanentFailure("left the company"))

        Letter(BATCH, [self.items("failing", "seen"), "default"], {}).run()

        assert len(seen) == 1
        assert mailbox.take() == []
        assert "Gave up on handler failing" in caplog.text

    def test_after_a_lost_process_each_starts_again_alone(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        Letter(BATCH, [self.items("seen", "seen"), "default"], {}).run(retries=1)

        assert seen == []
        letters = mailbox.take()
        assert [(letter.task, letter.args[1]) for letter in letters] == [(EVENT, "seen")] * 2
        assert [letter.headers["retries"] for letter in letters] == [1, 1]  # what was lost counts
        assert [letter.run() for letter in letters] == ["SUCCESS"] * 2
        assert [event.order_id for event in seen] == ["0", "1"]

    def test_after_a_lost_process_the_only_attempt_allowed_is_still_made(
        self, mailbox: Mailbox
    ) -> None:
        runs: Seen = []
        subscribe_async(OrderPlaced, runs.append, name="once", max_attempts=1)
        Letter(BATCH, [self.items("once"), "default"], {}).run(retries=1)

        (letter,) = mailbox.take()

        assert letter.run() == "SUCCESS"
        assert len(runs) == 1

    @pytest.mark.parametrize("payload", [3, None, "text", [], {}, {"event_type": "no.such_event"}])
    def test_after_a_lost_process_what_is_forged_stops_nothing(
        self, seen: Seen, mailbox: Mailbox, payload: Any
    ) -> None:
        items = [{"payload": payload, "handler": "seen"}, *self.items("unheard", "seen")]

        assert Letter(BATCH, [items, "default"], {}).run(retries=1) == "SUCCESS"

        letters = mailbox.take()
        assert [letter.args[0] for letter in letters] == [item["payload"] for item in items]
        assert letters[-1].run() == "SUCCESS"
        assert [event.order_id for event in seen] == ["1"]

    def test_without_a_broker_the_whole_is_given_back(self, mailbox: Mailbox) -> None:
        failing_with(ValueError("no paper left"))
        mailbox.use(REFUSED)

        result = Letter(BATCH, [self.items("failing"), "default"], {}).run()

        assert result == "REJECTED"


class TestForgedMessages:
    """Au dernier essai qui leur reste : chacun finit par une ligne d’erreur, sans rien exécuter."""

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            ([42, "seen"], "for event (a int instead of a payload)"),
            ([None, None], "for event (a NoneType instead of a payload)"),
            ([[1], "seen"], "(a list instead of a payload)"),
            ([{"event_type": ["x"]}, "seen"], "event_type is ['x'], not the name of an event"),
            ([{"event_type": "shop.order_placed"}, "seen"], "event_id is None, not a UUID"),
            ([OrderPlaced().to_dict(), 42], "handler is 42, not the name of a handler"),
            ([OrderPlaced().to_dict(), ["seen"]], "handler is ['seen'], not the name"),
            (
                [OrderPlaced().to_dict(), "seen", "deep"],
                "depth is 'deep', not a whole number from 0",
            ),
            ([OrderPlaced().to_dict(), "seen", 0, "nope"], "using is 'nope', not a database"),
            ([OrderPlaced().to_dict()], "missing 1 required positional argument"),
        ],
    )
    def test_a_message_for_one_handler(
        self, seen: Seen, mailbox: Mailbox, caplog: pytest.LogCaptureFixture,
        args: list[Any], words: str,
    ) -> None:  # fmt: skip
        result = Letter(EVENT, args, {"share_kernel_skews": 143}).run(retries=7)

        assert result == "FAILURE"
        assert (seen, mailbox.take()) == ([], [])
        assert "Gave up on handler" in caplog.text
        assert words in caplog.text

    @pytest.mark.parametrize(
        ("items", "count"), [(42, 1), ([1, 2], 2), ([{}], 1), ([{"payload": {}}], 1)]
    )
    def test_a_batch(
        self, seen: Seen, mailbox: Mailbox, caplog: pytest.LogCaptureFixture,
        items: Any, count: int,
    ) -> None:  # fmt: skip
        Letter(BATCH, [items], {}).run()
        for letter in mailbox.take():
            letter.run(retries=7)

        assert seen == []
        assert caplog.text.count("Gave up on handler") == count

    def test_a_batch_that_cannot_even_start_names_each_event(
        self, seen: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        events = [OrderPlaced(event_id=uuid4()) for _ in range(2)]
        items = [{"payload": event.to_dict(), "handler": "seen"} for event in events]

        Letter(BATCH, [items, "default", "too many"], {}).run()

        for event in events:
            assert f"handler seen for event shop.order_placed {event.event_id}" in caplog.text


@pytest.mark.parametrize(
    ("task", "late"), [(EVENT, True), (BATCH, True), ("share_kernel.deliver", False)]
)
def test_a_killed_worker_loses_no_message_that_nothing_else_remembers(
    task: str, late: bool
) -> None:
    """Le réveil n’a pas à revenir : la ligne reste, et le relais la réveille."""
    found: Any = current_app.tasks[task]

    assert found.acks_late is late
    assert found.ignore_result is True
    assert not late or found.retry_on_worker_lost is True
