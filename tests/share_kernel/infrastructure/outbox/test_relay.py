"""Le relais, sur SQLite et un broker en mémoire : son ordre, et ce qu’il renvoie."""

import itertools
import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
)
from src.share_kernel.infrastructure.outbox.management.commands import relay_events
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import let_go, relay
from src.share_kernel.infrastructure.outbox.waking import Listener
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.mailbox import MEMORY, REFUSED, Letter, Mailbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

Seen = list[Any]


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def overdue(**values: Any) -> None:
    """Fait comme si les délais de toutes les lignes étaient écoulés."""
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.update(**({"start_after": past, "send_after": past} | values))


def woken(letters: list[Letter]) -> list[str]:
    assert {letter.task for letter in letters} <= {"share_kernel.deliver"}
    return [pk for letter in letters for pk in letter.args[0]]


def test_a_delivery_costs_one_commit_and_seven_statements(seen: Seen) -> None:
    def statements(deliveries: int) -> Counter[str]:
        publish_events([OrderPlaced() for _ in range(deliveries)])
        with CaptureQueriesContext(connection) as queries:
            relay(execute=True)
        return Counter(query["sql"].split()[0] for query in queries)

    more = statements(13) - statements(3)

    assert more["COMMIT"] == 10
    assert more.total() == 70


class TestOrder:
    def test_a_bulk_publication_is_delivered_in_its_order(self, seen: Seen) -> None:
        publish_events([OrderPlaced(order_id=str(number)) for number in range(20)])
        shuffle_where_rows_lie()

        relay(execute=True)

        assert [event.order_id for event in seen] == [str(number) for number in range(20)]

    def test_handlers_of_one_event_keep_the_order_of_their_subscription(self) -> None:
        order: list[str] = []
        for name in ("first", "second", "third"):
            subscribe_async(OrderPlaced, lambda event, name=name: order.append(name), name=name)
        publish_event(OrderPlaced())
        shuffle_where_rows_lie()

        relay(execute=True)

        assert order == ["first", "second", "third"]


def shuffle_where_rows_lie() -> None:
    """Récrit les lignes telles quelles, la dernière d’abord : SQLite lit dans l’ordre d’écriture.

    Sans cela, un registre qui ne note aucun ordre passerait pour en avoir un.
    """
    rows = list(Delivery.objects.all())
    Delivery.objects.all().delete()
    for row in reversed(rows):
        row.save(force_insert=True)


@pytest.fixture
def _signals() -> Iterator[None]:
    """La commande prend SIGTERM et SIGINT pour elle."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_relay_after_the_delivery_that_runs(number: signal.Signals) -> None:
    subscribe_async(OrderPlaced, lambda event: signal.raise_signal(number), name="stop")
    publish_events([OrderPlaced(), OrderPlaced(), OrderPlaced()])
    printed = StringIO()

    call_command("relay_events", "--execute", stdout=printed)

    assert printed.getvalue().endswith("1 relayed.\n")
    states = sorted(Delivery.objects.values_list("state", flat=True))
    assert states == ["done", "pending", "pending"]


@pytest.mark.usefixtures("_signals")
class TestLoop:
    def test_looks_again_at_an_empty_register_until_it_is_stopped(self) -> None:
        looks: list[str] = []

        def look(run: Callable[..., Any], sql: str, *rest: Any) -> Any:
            looks.append(sql)
            if len(looks) == 3:
                signal.raise_signal(signal.SIGTERM)
            return run(sql, *rest)

        printed = StringIO()
        with connection.execute_wrapper(look):
            call_command("relay_events", "--execute", stdout=printed)

        assert len(looks) >= 3
        assert printed.getvalue().endswith("\n0 relayed.\n")

    def test_survives_a_database_that_fails_for_a_moment(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscribe_async(OrderPlaced, lambda event: signal.raise_signal(signal.SIGTERM), name="stop")
        publish_event(OrderPlaced())
        refused: list[str] = []

        def refuse_once(run: Callable[..., Any], sql: str, *rest: Any) -> Any:
            if not refused:
                refused.append(sql)
                raise OperationalError("the server closed the connection unexpectedly")
            return run(sql, *rest)

        printed = StringIO()
        with connection.execute_wrapper(refuse_once):
            call_command("relay_events", "--execute", stdout=printed)

        assert "The relay cannot use the database default" in caplog.text
        assert printed.getvalue().endswith("\n1 relayed.\n")
        assert Delivery.objects.get().state == "done"

    def test_says_at_once_what_it_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []

        class Pipe(StringIO):
            def flush(self) -> None:
                told.append(self.getvalue())

        def look(*args: Any, **options: Any) -> int:
            assert told[-1] == "Relaying default, executing. Stop with Ctrl-C.\n"
            return 0

        monkeypatch.setattr(relay_events, "relay", look)
        printed = Pipe()
        call_command("relay_events", "--execute", "--once", stdout=printed)

        assert printed.getvalue().endswith("Ctrl-C.\n0 relayed.\n")

    def test_counts_on_a_terminal_and_nowhere_else(self, seen: Seen) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])
        printed = StringIO()

        call_command("relay_events", "--execute", "--once", stdout=printed)

        assert "\r" not in printed.getvalue()

    def test_counts_on_a_terminal(self, seen: Seen) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])
        terminal = Terminal()

        call_command("relay_events", "--execute", "--once", stdout=terminal)

        assert "\r2 relayed2 relayed.\n" in terminal.getvalue()

    def test_looks_again_at_once_after_a_turn_that_found_something(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found, waits = [2, 3, 0], list[float]()
        monkeypatch.setattr(relay_events, "relay", lambda *args, **options: found.pop(0))
        monkeypatch.setattr(Listener, "wait", lambda self, *args: waits.append(1))
        printed = StringIO()

        call_command("relay_events", "--execute", "--once", stdout=printed)

        assert printed.getvalue().endswith("\n5 relayed.\n")
        assert waits == []

    def test_waits_after_a_failure_longer_than_for_work(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found: list[int] = [2, 0, 0]
        waits: list[float] = []

        class Stop(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                waits.append(timeout or 0)
                return self.is_set()

        def look(*args: Any, **options: Any) -> int:
            if not waits:
                raise OperationalError("no such host")
            if len(found) == 1:
                stop.set()
            return found.pop(0)

        stop = Stop()
        monkeypatch.setattr(relay_events, "_stop_on_signals", lambda: stop)
        monkeypatch.setattr(relay_events, "relay", look)

        call_command("relay_events", "--execute", stdout=StringIO())

        assert waits == [2, 0.5, 0.5]

    def test_several_processes_end_when_nothing_is_late(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def note(*args: Any, **options: Any) -> int:
            (tmp_path / str(os.getpid())).touch()
            return 0

        monkeypatch.setattr(relay_events, "relay", note)

        call_command("relay_events", "--execute", "--once", "--workers=2", stdout=StringIO())

        assert len(list(tmp_path.iterdir())) == 2
        assert "Relay process" not in caplog.text

    def test_several_processes_are_stopped_and_waited_for(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def stop_the_command(*args: Any, **options: Any) -> int:
            """Chaque processus manque les signaux, comme s’il finissait de naître."""
            started = tmp_path / str(os.getpid())
            if not started.exists():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                started.touch()
                os.kill(os.getppid(), signal.SIGTERM)
            return 0

        monkeypatch.setattr(relay_events, "relay", stop_the_command)

        call_command("relay_events", "--execute", "--workers=2", stdout=StringIO())

        for started in tmp_path.iterdir():
            with pytest.raises(ChildProcessError):  # it has ended, and its end was read
                os.waitpid(int(started.name), os.WNOHANG)
        assert list(tmp_path.iterdir())

    def test_one_of_several_that_is_stopped_is_replaced(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def stop_one_then_the_command(*args: Any, **options: Any) -> int:
            (tmp_path / str(os.getpid())).touch()
            enough = len(list(tmp_path.iterdir())) > 2
            os.kill(os.getppid() if enough else os.getpid(), signal.SIGTERM)
            return 0

        monkeypatch.setattr(relay_events, "relay", stop_one_then_the_command)
        monkeypatch.setattr(relay_events, "BROKEN", 0.01)

        call_command("relay_events", "--execute", "--workers=2", stdout=StringIO())

        assert len(list(tmp_path.iterdir())) > 2
        assert "ended (0)" in caplog.text

    def test_a_signal_may_come_at_any_moment(self) -> None:
        def interrupted() -> None:
            stop = relay_events.Stop()
            signal.signal(signal.SIGALRM, lambda *_: stop.set())
            signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
            for _ in range(20_000):
                stop.wait(0)

        process = multiprocessing.get_context("fork").Process(target=interrupted, daemon=True)
        process.start()
        process.join(60)

        assert process.exitcode == 0

    def test_a_process_of_several_that_fails_fails_the_command(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*args: Any, **options: Any) -> int:
            raise OperationalError("no such host")

        monkeypatch.setattr(relay_events, "relay", fail)

        with pytest.raises(CommandError, match="A relay process failed"):
            call_command("relay_events", "--execute", "--once", "--workers=2", stdout=StringIO())

        assert "Relay process" in caplog.text


class TestLetGo:
    """Une connexion est lâchée entre deux tours, et CONN_MAX_AGE nul attend un tour vide."""

    @pytest.fixture
    def let_go_of(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
        looks: list[int] = []
        monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: looks.append(1))

        def count(max_age: int | None, *, idle: bool) -> int:
            monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", max_age)
            let_go(idle=idle)
            return len(looks)

        return count

    @pytest.mark.parametrize(
        ("max_age", "idle", "looks"),
        [(0, False, 0), (0, True, 1), (60, False, 1), (60, True, 1), (None, False, 1)],
    )
    def test_by_its_age(
        self, let_go_of: Callable[..., int], max_age: int | None, looks: int, *, idle: bool
    ) -> None:
        assert let_go_of(max_age, idle=idle) == looks

    @pytest.mark.parametrize("max_age", [0, 60])
    def test_never_inside_a_transaction(self, let_go_of: Callable[..., int], max_age: int) -> None:
        with transaction.atomic():
            assert let_go_of(max_age, idle=True) == 0

    def test_an_error_that_it_has_survived_is_forgotten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "errors_occurred", True)

        let_go(idle=False)

        assert connection.errors_occurred is False


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class TestWakeUps:
    def test_names_the_row_and_its_database_and_nothing_else(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        publish_event(OrderPlaced(order_id="secret-7"))

        (letter,) = mailbox.take()

        assert letter.task == "share_kernel.deliver"
        assert letter.args == [[str(Delivery.objects.get().pk)], "default"]
        assert "secret-7" not in str(letter.headers)

    def test_leaves_after_the_commit_and_never_if_it_is_rolled_back(
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

    def test_delivers_when_a_worker_takes_it(self, seen: Seen, mailbox: Mailbox) -> None:
        publish_event(OrderPlaced())
        (letter,) = mailbox.take()

        letter.run()
        letter.run()

        assert len(seen) == 1
        assert Delivery.objects.get().state == "done"

    def test_each_goes_to_the_queue_of_its_handler(self, seen: Seen, mailbox: Mailbox) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="slow one", queue="slow")
        publish_event(OrderPlaced())
        slow = str(Delivery.objects.get(handler="slow one").pk)

        assert woken(mailbox.take("slow")) == [slow]
        assert slow not in woken(mailbox.take())

        overdue()
        assert relay() == 2
        assert woken(mailbox.take("slow")) == [slow]
        assert len(woken(mailbox.take())) == 1

    def test_a_bulk_publication_shares_messages_in_order(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        publish_events([OrderPlaced(order_id=str(number)) for number in range(120)])

        letters = mailbox.take()
        for letter in letters:
            letter.run()

        assert len(letters) == 2
        assert [event.order_id for event in seen] == [str(number) for number in range(120)]

    @pytest.mark.parametrize("ids", [42, ["x", None, 3, {"a": 1}], []])
    def test_what_is_no_row_is_ignored(
        self, seen: Seen, mailbox: Mailbox, ids: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_event(OrderPlaced())
        pk = str(Delivery.objects.get().pk)
        wanted = [*ids, pk] if isinstance(ids, list) else ids

        result = Letter("share_kernel.deliver", [wanted], {}).run()

        assert result == "SUCCESS"
        assert len(seen) == isinstance(ids, list)
        refused = [text for text in caplog.messages if "which is not a delivery" in text]
        assert len(refused) == len(wanted) - 1 if isinstance(ids, list) else not refused


class TestSendingAgain:
    def test_a_fresh_row_has_the_time_of_its_first_wake_up(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        publish_event(OrderPlaced())

        assert relay() == 0
        assert len(mailbox.take()) == 1
        assert lease() > timedelta(seconds=1)

    def test_a_row_that_nobody_was_told_of_is_sent_at_once(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        mailbox.use(None)
        publish_event(OrderPlaced())
        mailbox.use(MEMORY)

        assert relay() == 1
        assert woken(mailbox.take()) == [str(Delivery.objects.get().pk)]

    def test_each_sending_doubles_the_lease_up_to_a_bound(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        """Sans quoi les renvois iraient plus vite que les workers."""
        publish_event(OrderPlaced())
        leases = []  # each between two bounds: the relay read the clock between two of ours
        for _ in range(12):
            overdue()
            before = timezone.now()
            assert relay() == 1
            leases.append((sent_again() - timezone.now(), sent_again() - before))

        for (low, high), (next_low, next_high) in itertools.pairwise(leases[:6]):
            assert next_low <= 2 * high
            assert next_high >= 2 * low
        (low, high), (last_low, last_high) = leases[-2:]
        assert last_low <= high
        assert last_high >= low
        assert timedelta(minutes=1) < last_high
        assert last_low < timedelta(minutes=30)

    def test_no_more_wake_ups_are_on_their_way_than_the_window(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        mailbox.use(None)
        publish_events([OrderPlaced() for _ in range(400)])
        mailbox.use(MEMORY)

        sent = relay()

        assert 100 <= sent < 400
        assert relay() == 0
        first = woken(mailbox.take())
        assert len(set(first)) == len(first) == sent
        Delivery.objects.filter(pk__in=first[:10]).update(state="done")
        assert relay() == 10
        assert not set(first) & set(woken(mailbox.take()))

    def test_rows_that_wait_for_their_next_attempt_do_not_fill_the_window(
        self, seen: Seen, mailbox: Mailbox
    ) -> None:
        mailbox.use(None)
        publish_events([OrderPlaced() for _ in range(400)])
        later = timezone.now() + timedelta(hours=1)
        overdue(start_after=later, send_after=later)
        mailbox.use(MEMORY)
        publish_event(late := OrderPlaced())
        mailbox.take()
        past = timezone.now() - timedelta(seconds=1)
        Delivery.objects.filter(event_id=late.event_id).update(start_after=past, send_after=past)

        assert relay() == 1

    def test_a_row_that_waits_for_its_hour_is_not_sent(self, seen: Seen, mailbox: Mailbox) -> None:
        publish_event(OrderPlaced())
        mailbox.take()
        overdue(start_after=timezone.now() + timedelta(hours=1))

        assert relay() == 0
        assert mailbox.take() == []

    @pytest.mark.parametrize("state", ["done", "dead"])
    def test_a_settled_row_is_not_sent(self, seen: Seen, mailbox: Mailbox, state: str) -> None:
        publish_event(OrderPlaced())
        mailbox.take()
        overdue(state=state)

        assert relay() == 0
        assert mailbox.take() == []


class TestBrokenBroker:
    @pytest.fixture
    def broken(self, seen: Seen, mailbox: Mailbox, settings: Any) -> Mailbox:
        """Une ligne en retard, et un broker qui refuse."""
        settings.EVENT_BUS = {"BREAKER_SECONDS": 0}
        publish_event(OrderPlaced())
        mailbox.take()
        overdue()
        mailbox.use(REFUSED)
        return mailbox

    def test_does_not_lengthen_the_leases(self, broken: Mailbox) -> None:
        before = Delivery.objects.get()

        for _ in range(3):
            assert relay() == 0

        after = Delivery.objects.get()
        assert after.sends == before.sends
        assert after.send_after <= timezone.now()
        broken.use(MEMORY)
        assert relay() == 1
        assert len(broken.take()) == 1

    def test_is_left_alone_while_the_breaker_is_open(
        self, broken: Mailbox, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.EVENT_BUS = {"BREAKER_SECONDS": 60}
        assert relay() == 0
        assert "The broker failed" in caplog.text
        caplog.clear()
        broken.use(MEMORY)

        assert relay() == 0
        publish_event(OrderPlaced())

        assert broken.take() == []
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    def test_runs_nothing_in_the_request(self, broken: Mailbox, seen: Seen) -> None:
        publish_event(OrderPlaced())

        assert seen == []
        assert Delivery.objects.filter(state="pending").count() == 2

    def test_costs_one_attempt_whatever_the_number_of_rows(
        self, broken: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_events([OrderPlaced() for _ in range(250)])

        assert caplog.text.count("The broker failed") == 1


def sent_again() -> datetime:
    return Delivery.objects.get().send_after


def lease() -> timedelta:
    return sent_again() - timezone.now()
