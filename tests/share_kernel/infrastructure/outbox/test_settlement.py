"""Ce qu’un essai laisse sur sa ligne, et ce qu’un exploitant en fait."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventChainTooDeepError,
    PermanentFailure,
    RetryAfter,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    unsubscribe,
)
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.one_row import deliver_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

Seen = list[Any]
HOUR = timedelta(hours=1)


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def only() -> Delivery:
    return Delivery.objects.get()


def overdue(**values: Any) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.update(**({"start_after": past, "send_after": past} | values))


def failing_with(error: Exception, **options: Any) -> Seen:
    """Abonne un handler qui échoue toujours ; renvoie les événements qu’il a reçus."""
    runs: Seen = []

    def fail(event: DomainEvent) -> None:
        runs.append(event)
        raise error

    subscribe_async(OrderPlaced, fail, name="failing", **options)
    return runs


class TestAttempt:
    def test_a_row_that_runs_cannot_be_started_again(self) -> None:
        """Un second réveil, pendant que le handler tourne, ne lance rien."""
        outcomes: list[bool] = []
        subscribe_async(
            OrderPlaced,
            lambda event: outcomes.append(deliver_row(only().pk, "default")),
            name="woken twice",
        )
        publish_event(OrderPlaced())

        assert deliver_row(only().pk, "default") is True

        assert outcomes == [False]
        assert (only().state, only().attempts) == ("done", 1)

    def test_a_row_whose_hour_has_not_come_is_not_started(self, seen: Seen) -> None:
        publish_event(OrderPlaced())
        overdue(start_after=timezone.now() + HOUR)

        assert deliver_row(only().pk, "default") is False
        assert relay(execute=True) == 0
        assert (seen, only().attempts) == ([], 0)

    @pytest.mark.parametrize("state", ["done", "dead"])
    def test_a_settled_row_is_not_started(self, seen: Seen, state: str) -> None:
        publish_event(OrderPlaced())
        overdue(state=state)

        assert deliver_row(only().pk, "default") is False
        assert relay(execute=True) == 0
        assert seen == []

    def test_writes_nothing_on_a_row_that_was_settled_meanwhile(self, seen: Seen) -> None:
        publish_event(OrderPlaced())
        (row,) = Delivery.objects.reserve(1)
        overdue(state="dead", error="given up by hand", settled_at=timezone.now())

        written = [
            Delivery.objects.settle(row),
            Delivery.objects.renew(row, 60),
            Delivery.objects.postpone(row, delay=1, attempts=1, error="no paper left"),
            Delivery.objects.abandon(row, attempts=1, error="no paper left"),
        ]

        assert written == [0, 0, 0, 0]
        assert (only().state, only().error) == ("dead", "given up by hand")

    def test_is_what_the_wake_ups_were_for(self) -> None:
        """Le bail du prochain renvoi repart de son début."""
        failing_with(ValueError("no paper left"))
        publish_event(OrderPlaced())
        overdue(sends=5)

        relay(execute=True)

        assert only().sends == 0

    def test_the_chain_goes_on_from_the_depth_of_the_row(self, settings: Any) -> None:
        settings.EVENT_BUS = {"MAX_DEPTH": 5}
        deeper: Seen = []
        subscribe_async(OrderPlaced, lambda event: publish_event(OrderPaid()), name="pay")
        subscribe_async(OrderPaid, deeper.append, name="paid")
        publish_event(OrderPlaced())
        overdue(depth=3)

        relay(execute=True)
        assert Delivery.objects.get(handler="paid").depth == 4
        relay(execute=True)
        assert len(deeper) == 1

    def test_a_chain_too_deep_is_given_up_at_once(self, settings: Any) -> None:
        settings.EVENT_BUS = {"MAX_DEPTH": 5}
        subscribe_async(OrderPlaced, lambda event: publish_event(OrderPaid()), name="pay")
        subscribe_async(OrderPaid, print, name="never reached")
        publish_event(OrderPlaced())
        overdue(depth=4)

        relay(execute=True)

        assert (only().state, only().attempts) == ("dead", 1)
        assert only().error.startswith(EventChainTooDeepError.__name__)


class TestFailure:
    def test_postpones_the_start_and_the_sending_alike(self) -> None:
        failing_with(RetryAfter(3600, "closed for lunch"))
        publish_event(OrderPlaced())

        relay(execute=True)

        row = only()
        assert row.start_after == row.send_after
        assert HOUR * 0.9 < row.send_after - timezone.now() <= HOUR

    def test_a_short_delay_is_not_lengthened(self) -> None:
        failing_with(RetryAfter(1, "closing the drawer"))
        publish_event(OrderPlaced())

        relay(execute=True)

        assert only().send_after <= timezone.now() + timedelta(seconds=1)

    def test_the_delays_grow_and_stay_bounded(self, caplog: pytest.LogCaptureFixture) -> None:
        """Tirés au hasard : c’est leur borne qui double."""
        failing_with(ValueError("no paper left"), max_attempts=100)
        publish_events([OrderPlaced() for _ in range(15)])
        longest = {}
        for attempts in (0, 3, 90):
            overdue(attempts=attempts)
            caplog.clear()
            relay(execute=True)
            delays = re.findall(r"retry in ([\d.]+) s", caplog.text)
            assert len(delays) == 15
            longest[attempts] = max(map(float, delays))

        assert longest[0] <= 2
        assert 4 < longest[3] <= 16
        assert 300 < longest[90] <= 15 * 60

    def test_is_logged_with_its_event_its_handler_and_its_delay(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing_with(RetryAfter(90, "closed for lunch"), max_attempts=3)
        event = OrderPlaced(correlation_id=UUID(int=7))
        publish_event(event)

        relay(execute=True)

        (record,) = caplog.records
        text = record.getMessage()
        assert record.levelno == logging.WARNING
        for words in ("failing", f"shop.order_placed {event.event_id}", "90.0 s", "1 of 3"):
            assert words in text
        assert "closed for lunch" in text
        assert record.exc_info
        assert vars(record)["correlation_id"] == str(UUID(int=7))
        assert vars(record)["event_id"] == str(event.event_id)

    def test_the_subscription_says_how_many_attempts(self, settings: Any) -> None:
        settings.EVENT_BUS = {"MAX_ATTEMPTS": 5}
        runs = failing_with(ValueError("no paper left"), max_attempts=2)
        publish_event(OrderPlaced())

        for _ in range(4):
            overdue()
            relay(execute=True)

        assert len(runs) == 2
        assert (only().state, only().attempts) == ("dead", 2)

    def test_success_forgets_the_former_error(self) -> None:
        answers = iter([ValueError("no paper left"), None])

        def flaky(event: OrderPlaced) -> None:
            if error := next(answers):
                raise error

        subscribe_async(OrderPlaced, flaky, name="flaky")
        publish_event(OrderPlaced())
        relay(execute=True)
        assert only().error == "ValueError: no paper left"

        overdue()
        relay(execute=True)

        assert (only().state, only().error, only().attempts) == ("done", "", 2)

    def test_takes_away_what_the_handler_wrote_and_keeps_the_count(self) -> None:
        def half(event: OrderPlaced) -> None:
            Tenant.objects.create(slug="half", schema_name="half")
            raise ValueError("no paper left")

        subscribe_async(OrderPlaced, half, name="half")
        publish_event(OrderPlaced())

        relay(execute=True)

        assert not Tenant.objects.exists()
        assert (only().state, only().attempts) == ("pending", 1)

    def test_a_long_error_is_cut(self) -> None:
        failing_with(PermanentFailure("x" * 100_000))
        publish_event(OrderPlaced())

        relay(execute=True)

        assert only().state == "dead"
        assert 1000 <= len(only().error) <= 4000

    @pytest.mark.parametrize("logged", [True, False])
    def test_giving_up_writes_the_event_if_allowed(
        self, logged: bool, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.EVENT_BUS = {"LOG_PAYLOAD": logged}
        failing_with(PermanentFailure("left the company"))
        publish_event(OrderPlaced(order_id="secret-7"))

        relay(execute=True)

        assert "Gave up on handler failing for event shop.order_placed" in caplog.text
        assert ('"order_id": "secret-7"' in caplog.text) is logged
        assert only().settled_at is not None


@contextmanager
def busy_once_claimed() -> Iterator[list[str]]:
    """Après la première réclamation, la base est occupée le temps d’une requête, comme SQLite."""
    refused: list[str] = []
    claimed: list[str] = []

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if claimed and not refused:
            refused.append(sql)
            raise OperationalError("database is locked")
        result = run(sql, params, many, context)
        if sql.startswith('UPDATE "share_kernel_outbox_delivery"'):
            claimed.append(sql)
        return result

    with connection.execute_wrapper(execute):
        yield refused


class TestBusyDatabase:
    def test_before_the_handler_it_costs_no_attempt(self, seen: Seen) -> None:
        publish_event(OrderPlaced())

        with busy_once_claimed() as refused:
            deliver_row(only().pk, "default")

        assert len(refused) == 1
        assert (only().state, only().attempts, only().error) == ("pending", 0, "")
        assert only().start_after <= timezone.now() + timedelta(seconds=5)
        overdue()
        relay(execute=True)
        assert (only().state, only().attempts, len(seen)) == ("done", 1, 1)


class TestReplay:
    def run(self, *args: str) -> str:
        stream = StringIO()
        call_command("replay_events", *args, stdout=stream)
        return stream.getvalue()

    @pytest.fixture
    def dead(self, seen: Seen) -> Delivery:
        publish_event(OrderPlaced())
        overdue(
            state="dead", attempts=8, sends=5, error="ValueError: no paper left",
            pending_since=timezone.now() - timedelta(days=9), settled_at=timezone.now(),
            start_after=timezone.now() + HOUR, send_after=timezone.now() + HOUR,
        )  # fmt: skip
        return only()

    def test_makes_the_row_due_as_if_it_were_new(self, dead: Delivery, seen: Seen) -> None:
        assert "will be replayed: 1." in self.run("--all")

        row = only()
        assert (row.state, row.attempts, row.sends, row.settled_at) == ("pending", 0, 0, None)
        assert max(row.start_after, row.send_after, row.pending_since) <= timezone.now()
        assert relay(execute=True) == 1
        assert len(seen) == 1

    def test_it_waits_for_a_deployment_a_whole_day_again(self, dead: Delivery, seen: Seen) -> None:
        unsubscribe(OrderPlaced, seen.append)
        self.run("--all")

        relay(execute=True)

        assert only().state == "pending"

    @pytest.mark.parametrize("state", ["pending", "done"])
    def test_touches_no_other_row(self, dead: Delivery, state: str) -> None:
        Delivery.objects.update(state=state)

        assert "will be replayed: 0." in self.run("--all")
        assert (only().state, only().attempts) == (state, 8)

    @pytest.mark.parametrize(
        ("option", "value", "count"),
        [
            ("--handler", "seen", 1),
            ("--handler", "other", 0),
            ("--event-type", "shop.order_placed", 1),
            ("--event-type", "shop.order_paid", 0),
        ],
    )
    def test_chooses(self, dead: Delivery, option: str, value: str, count: int) -> None:
        assert f"would be replayed: {count}." in self.run(option, value, "--dry-run")
        assert only().state == "dead"
        assert f"will be replayed: {count}." in self.run(option, value)
        assert only().state == ("pending" if count else "dead")

    @pytest.mark.parametrize("option", ["--handler", "--event-type"])
    def test_an_empty_choice_chooses_nothing(self, dead: Delivery, option: str) -> None:
        assert "will be replayed: 0." in self.run("--all", option, "")
        assert only().state == "dead"

    def test_chooses_rows_by_their_identifiers(self, dead: Delivery) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])
        Delivery.objects.update(state="dead", settled_at=timezone.now())
        first, second, third = Delivery.objects.order_by("pk")

        assert "will be replayed: 2." in self.run("--id", str(first.pk), "--id", str(third.pk))

        assert Delivery.objects.get(state="dead") == second


class TestPrune:
    def run(self, *args: str) -> str:
        stream = StringIO()
        call_command("prune_events", *args, stdout=stream)
        return stream.getvalue()

    @pytest.mark.parametrize(
        ("days", "args", "count"),
        [
            (31, [], 1),
            (30.0003, [], 1),  # half a minute late
            (29, [], 0),
            (29, ["--days", "28"], 1),
            (0.6, ["--days", "0.5"], 1),
            (0.4, ["--days", "0.5"], 0),
        ],
    )
    def test_the_age_is_that_of_the_settlement(
        self, seen: Seen, days: float, args: list[str], count: int
    ) -> None:
        publish_event(OrderPlaced())
        long_ago = timezone.now() - timedelta(days=400)
        settled = timezone.now() - timedelta(days=days)
        overdue(state="done", created_at=long_ago, pending_since=long_ago, settled_at=settled)

        assert f"deleted: {count}." in self.run(*args)
        assert Delivery.objects.count() == 1 - count

    def test_a_dead_row_stays_unless_it_is_asked_for(self, seen: Seen) -> None:
        publish_event(OrderPlaced())
        overdue(state="dead", settled_at=timezone.now() - timedelta(days=99))

        assert Delivery.objects.prune(days=1) == 0
        assert Delivery.objects.prune(days=1, include_dead=True) == 1


def test_the_first_look_up_is_counted_as_the_first(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    publish_event(OrderPlaced())
    overdue(handler="of a later version")

    assert relay(execute=True) == 1

    assert "look-up 1 of 144" in caplog.text
    assert Delivery.objects.get().attempts == 0


class TestRelayCommand:
    def test_a_database_that_fails_is_told_and_survived(
        self, seen: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_event(OrderPlaced())

        def refuse(*args: Any) -> Any:
            raise OperationalError("the server closed the connection unexpectedly")

        with (
            pytest.raises(CommandError, match="The database failed: see the log"),
            connection.execute_wrapper(refuse),
        ):
            call_command("relay_events", "--execute", "--once", stdout=StringIO())

        assert "The relay cannot use the database default" in caplog.text
        assert "closed the connection" in caplog.text


def test_a_delay_that_no_database_can_write_is_shortened() -> None:
    def wait(event: DomainEvent) -> None:
        raise RetryAfter(1e300, "closed for ever")

    subscribe_async(OrderPlaced, wait, name="wait")
    publish_event(OrderPlaced())
    relay(execute=True)

    row = only()
    assert (row.state, row.attempts) == ("pending", 1)
    assert row.start_after > timezone.now() + timedelta(days=300)
