"""Ce que le registre promet sur chaque base : des interblocages, des noms, des textes, des heures.

Les handlers s’exécutent dans ce processus, sur de vrais serveurs.
"""

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from src.module.accounting.models import LedgerEntry
from src.share_kernel.domain.domain_event import (
    PayloadError,
    PermanentFailure,
    RetryAfter,
    SubscriptionError,
)
from src.share_kernel.infrastructure.event_bus import publish_event, publish_events, subscribe_async
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.one_row import deliver_row

from .conftest import OpenRegister, mariadb_service
from .databases import connect_to_mariadb, mariadb_database
from .registers import Register, in_parallel, register_at
from .stack import DEADLINE, eventually

Seen = list[Any]


def publish(register: Register, *, order_id: str = "o-1") -> None:
    publish_event(OrderPlaced(order_id=order_id), using=register.using)


def subscribe_bystander(seen: Seen) -> None:
    """Un handler sans histoire, après celui du test : son tour doit venir."""
    subscribe_async(OrderPlaced, lambda event: seen.append("bystander"), name="bystander")


class Rival:
    """Une transaction plus lourde que celle du handler : dans un interblocage, elle gagne."""

    def __init__(self, register: Register) -> None:
        self.register = register
        LedgerEntry.objects.using(register.using).bulk_create(
            LedgerEntry(invoice_number=name, amount=0)
            for name in ("one", "two", *(f"heavy {number}" for number in range(200)))
        )
        self.connection = connect_to_mariadb(register.url)
        self.connection.autocommit(False)
        self.connection.cursor().execute(  # as Django does: no lock on what is between the rows
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        )
        self.number = self.connection.thread_id()
        self.execute("LIKE 'heavy %'")
        self.execute("= 'two'")
        self.thread = threading.Thread(target=self.execute, args=("= 'one'",))

    def execute(self, which: str) -> None:
        self.connection.cursor().execute(
            f"UPDATE accounting_ledgerentry SET amount = amount + 1 WHERE invoice_number {which}"
        )

    def wants_what_the_handler_has(self) -> None:
        self.thread.start()
        waiting = (
            # Not innodb_trx: a cache, which never changes for those who ask every 0.1 s.
            "SELECT 1 FROM information_schema.processlist "
            f"WHERE id = {self.number} AND info LIKE 'UPDATE %' AND time_ms > 300"
        )
        eventually(lambda: self.register.ask(waiting), "the rival waits for the handler")

    @property
    def has_played(self) -> bool:
        return self.thread.ident is not None

    def leave(self) -> None:
        if self.has_played:
            self.thread.join()
        if self.connection.open:
            self.connection.close()


@pytest.fixture
def rival(mariadb: Register) -> Iterator[Rival]:
    rival = Rival(mariadb)
    yield rival
    rival.leave()


def update_by_orm(register: Register, name: str) -> None:
    entries = LedgerEntry.objects.using(register.using)
    entries.filter(invoice_number=name).update(amount=F("amount") + 1)


def update_by_sql(register: Register, name: str) -> None:
    with connections[register.using].cursor() as cursor:
        cursor.execute(
            "UPDATE accounting_ledgerentry SET amount = amount + 1 WHERE invoice_number = %s",
            [name],
        )


Update = Callable[[Register, str], None]


def deadlock(register: Register, rival: Rival, update: Update) -> None:
    """Laisse un effet, puis perd toute la transaction : MariaDB répond 1213."""
    register.leave_effect("effect")
    update(register, "one")
    rival.wants_what_the_handler_has()
    update(register, "two")


def write_again(register: Register) -> None:
    """MariaDB commence alors une autre transaction sans le dire : elle a l’air saine."""
    with contextlib.suppress(DatabaseError):
        register.leave_effect("effect after")


@pytest.mark.parametrize("update", [update_by_orm, update_by_sql])
@pytest.mark.parametrize(
    "swallow",
    [None, lambda register: None, write_again],
    ids=["goes up", "is swallowed", "is swallowed by one who writes again"],
)
def test_a_deadlock_is_an_attempt_and_leaves_no_half_of_its_effects(
    update: Update, swallow: Callable[[Register], None] | None, mariadb: Register, rival: Rival
) -> None:
    def handler(event: OrderPlaced) -> None:
        if rival.has_played:
            mariadb.leave_effect("effect")
            return
        try:
            deadlock(mariadb, rival, update)
        except DatabaseError as error:
            codes.append(error.args[0])
            if swallow is None:
                raise
            swallow(mariadb)

    codes: list[int] = []
    seen: Seen = []
    subscribe_async(OrderPlaced, handler, name="deadlocked")
    subscribe_bystander(seen)
    publish(mariadb)

    mariadb.turn()
    rival.leave()
    assert codes == [1213]
    row = mariadb.row("deadlocked")
    assert (row.state, row.attempts) == ("pending", 1)
    assert row.error
    assert not [name for name in mariadb.effects() if name.startswith("effect")]
    assert seen == ["bystander"]

    mariadb.bring_forward()
    mariadb.turn()
    assert mariadb.states() == {"deadlocked": "done", "bystander": "done"}
    assert mariadb.effects().count("effect") == 1


IMPATIENT = {
    "postgresql": {"options": "-c idle_in_transaction_session_timeout=1000"},
    "mariadb": {"init_command": "SET idle_transaction_timeout = 1"},
}


class TestASessionEndedByTheServer:
    """En plein handler : un administrateur, un redémarrage, un délai d’inactivité."""

    @pytest.mark.parametrize("server", IMPATIENT)
    @pytest.mark.parametrize("end", [Register.end, Register.wait_for_end_of])
    def test_leaves_the_error_the_delay_and_the_next_handlers(
        self,
        server: str,
        end: Callable[[Register, int], None],
        open_register: OpenRegister,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def handler(event: OrderPlaced) -> None:
            register.leave_effect("effect")
            end(register, register.session())
            register.leave_effect("never")

        impatient = end is Register.wait_for_end_of
        register = open_register(server, **IMPATIENT[server] if impatient else {})

        seen: Seen = []
        subscribe_async(OrderPlaced, handler, name="cut off")
        subscribe_bystander(seen)
        publish(register)

        before = timezone.now()
        register.turn()
        after = timezone.now()

        row = register.row("cut off")
        assert (row.state, row.attempts) == ("pending", 1)
        assert re.match("OperationalError|InterfaceError|InternalError", row.error), row.error
        delay = timedelta(seconds=delay_in(caplog))
        tenth = timedelta(seconds=0.1)  # what the log rounds
        assert before + delay - tenth <= row.start_after <= after + delay + tenth
        assert seen == ["bystander"]
        assert register.effects() == []

    def test_leaves_the_error_of_the_handler_that_raises_its_own(
        self, register: Register, caplog: pytest.LogCaptureFixture
    ) -> None:
        def handler(event: OrderPlaced) -> None:
            register.end(register.session())
            raise RetryAfter(600, "no paper left")

        seen: Seen = []
        subscribe_async(OrderPlaced, handler, name="cut off")
        subscribe_bystander(seen)
        publish(register)

        before = timezone.now()
        register.turn()

        row = register.row("cut off")
        assert (row.state, row.attempts) == ("pending", 1)
        assert "no paper left" in row.error
        assert row.start_after >= before + timedelta(seconds=600)
        assert delay_in(caplog) == 600
        assert seen == ["bystander"]

    def test_under_a_handler_that_sees_nothing_is_an_attempt(self, register: Register) -> None:
        def handler(event: OrderPlaced) -> None:
            register.leave_effect("effect")
            if not ended:
                ended.append(register.session())
                register.end(*ended)

        ended: list[int] = []
        seen: Seen = []
        subscribe_async(OrderPlaced, handler, name="cut off")
        subscribe_bystander(seen)
        publish(register)

        register.turn()
        row = register.row("cut off")
        assert (row.state, row.attempts) == ("pending", 1)
        assert row.error
        assert (register.effects(), seen) == ([], ["bystander"])

        register.bring_forward()
        register.turn()
        assert register.row("cut off").state == "done"
        assert register.effects() == ["effect"]

    def test_at_each_attempt_ends_dead_with_the_true_error(
        self, register: Register, caplog: pytest.LogCaptureFixture
    ) -> None:
        def handler(event: OrderPlaced) -> None:
            register.end(register.session())
            raise ValueError("no paper left")

        subscribe_async(OrderPlaced, handler, name="cut off", max_attempts=2)
        publish(register)

        for _ in range(4):
            register.turn()
            register.bring_forward()

        row = register.row("cut off")
        assert (row.state, row.attempts, row.error) == ("dead", 2, "ValueError: no paper left")
        assert "Gave up on handler cut off" in caplog.text

    def test_is_final_when_the_handler_says_so(self, register: Register) -> None:
        def handler(event: OrderPlaced) -> None:
            register.end(register.session())
            raise PermanentFailure("this customer has left")

        subscribe_async(OrderPlaced, handler, name="cut off")
        publish(register)

        register.turn()

        row = register.row("cut off")
        assert (row.state, row.attempts) == ("dead", 1)
        assert "this customer has left" in row.error


def delay_in(caplog: pytest.LogCaptureFixture) -> float:
    """Renvoie le délai que le journal annonce pour le prochain essai."""
    (delay,) = re.findall(r"retry in ([\d.]+) s", caplog.text)
    return float(delay)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="share_kernel")


class TestASessionLeftReadOnly:
    """Ce qu’un handler règle dans sa session ne doit pas arrêter les suivants."""

    def test_is_let_go_and_the_relay_does_not_spin(
        self, register: Register, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: Seen = []
        subscribe_async(OrderPlaced, lambda event: make_read_only(register), name="read only")
        subscribe_bystander(seen)
        publish(register)

        assert register.turn() == 1
        assert "its attempt is given back" in caplog.text
        register.bring_forward()
        assert register.turn() == 1

        assert seen == ["bystander"]
        assert register.states() == {"read only": "done", "bystander": "done"}

    def test_by_a_callback_that_asks_to_stop_is_not_that_of_the_next(
        self, register: Register
    ) -> None:
        def stop() -> None:
            make_read_only(register)
            raise SystemExit

        def plan(event: OrderPlaced) -> None:
            transaction.on_commit(stop, using=register.using)

        seen: Seen = []
        subscribe_async(OrderPlaced, plan, name="read only")
        subscribe_bystander(seen)
        publish(register)

        assert register.turn() == 2

        assert seen == ["bystander"]
        assert register.states() == {"read only": "done", "bystander": "done"}


def make_read_only(register: Register) -> None:
    what = "SESSION TRANSACTION" if register.is_mariadb else READ_ONLY
    with connections[register.using].cursor() as cursor:
        cursor.execute(f"SET {what} READ ONLY")


READ_ONLY = "SESSION CHARACTERISTICS AS TRANSACTION"


def test_a_handler_without_a_transaction_is_settled_too(register: Register) -> None:
    subscribe_async(OrderPlaced, lambda event: None, name="alone", atomic=False)
    publish(register)

    assert register.turn() == 1

    assert register.states() == {"alone": "done"}


class TestAnotherDatabaseThatRestarts:
    """Sous un relais qui tourne depuis longtemps."""

    @pytest.fixture
    def legacy(self, register: Register, open_register: OpenRegister) -> Register:
        return open_register("mariadb" if register.is_mariadb else "postgresql", using="legacy")

    @pytest.mark.parametrize("age", [0, 60, None])
    def test_is_reached_again(self, age: int | None, register: Register, legacy: Register) -> None:
        connections.settings["legacy"]["CONN_MAX_AGE"] = age
        sessions: list[int] = []

        def export(event: OrderPlaced) -> None:
            legacy.leave_effect(event.order_id)
            sessions.append(legacy.session())

        subscribe_async(OrderPlaced, export, name="export")
        publish(register, order_id="1")
        register.turn_of_the_command()
        legacy.end(sessions[0])
        publish(register, order_id="2")
        for _ in range(3):
            register.turn_of_the_command()
            register.bring_forward()

        effects = legacy.ask("SELECT invoice_number FROM accounting_ledgerentry ORDER BY 1")
        assert effects == [("1",), ("2",)]
        assert list(register.rows.values_list("state", flat=True)) == ["done", "done"]
        assert max(register.rows.values_list("attempts", flat=True)) <= 2


class TestTheNameOfAHandler:
    @pytest.mark.parametrize("character", ["n", "é", "😀"])
    def test_may_have_255_characters(self, register: Register, character: str) -> None:
        seen: Seen = []
        subscribe_async(OrderPlaced, seen.append, name=character * 255)
        publish(register)

        register.turn()

        assert len(seen) == 1
        assert register.states() == {character * 255: "done"}

    @pytest.mark.parametrize("length", [256, 300])
    def test_of_more_is_refused_at_subscription(self, length: int) -> None:
        with pytest.raises(SubscriptionError, match="255"):
            subscribe_async(OrderPlaced, lambda event: None, name="n" * length)


ALIKE = {
    "case": ("shop.Notify", "shop.notify"),
    "accent": ("shop.cree", "shop.crée"),
    "emoji": ("shop.😀", "shop.🚀"),
    "final space": ("shop.notify", "shop.notify "),
    "ligature": ("shop.strasse", "shop.straße"),
}


class TestTwoHandlersWhoseNamesLookAlike:
    @pytest.fixture(
        params=["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin", "utf8mb4_nopad_bin"]
    )
    def collated(
        self, request: pytest.FixtureRequest, outbox: None, django_db_blocker: DjangoDbBlocker
    ) -> Any:
        yield from a_register_in(request.param, django_db_blocker)

    @pytest.mark.parametrize("names", ALIKE.values(), ids=ALIKE)
    def test_are_both_delivered_whatever_the_collation_of_mariadb(
        self, names: tuple[str, str], collated: Register
    ) -> None:
        seen = subscribe_both(names)

        publish(collated)
        collated.turn()

        assert sorted(seen) == sorted(names)
        assert sorted(collated.states()) == sorted(names)

    @pytest.mark.parametrize("keys", ALIKE.values(), ids=ALIKE)
    def test_and_two_keys_do_not_hold_each_other_back(
        self, keys: tuple[str, str], mariadb: Register
    ) -> None:
        def handler(event: OrderPlaced) -> None:
            if event.order_id == keys[0]:
                raise RetryAfter(3600)
            seen.append(event.order_id)

        seen: list[str] = []
        subscribe_async(OrderPlaced, handler, name="by key")
        for key in (*keys, keys[0]):
            publish(mariadb, order_id=key)
            mariadb.rows.filter(key=None).update(key=key)

        while mariadb.turn():
            pass

        assert seen == [keys[1]]

    @pytest.mark.parametrize("names", ALIKE.values(), ids=ALIKE)
    def test_are_both_delivered_on_postgresql(
        self, names: tuple[str, str], postgresql: Register
    ) -> None:
        seen = subscribe_both(names)

        publish(postgresql)
        postgresql.turn()

        assert sorted(seen) == sorted(names)


def subscribe_both(names: tuple[str, str]) -> list[str]:
    """Abonne deux handlers, qui notent leur nom."""
    seen: list[str] = []

    def handler(name: str) -> Callable[[OrderPlaced], None]:
        return lambda event: seen.append(name)

    for name in names:
        subscribe_async(OrderPlaced, handler(name), name=name)
    return seen


def a_register_in(collation: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Register]:
    with (
        django_db_blocker.unblock(),
        mariadb_database(mariadb_service(), collation) as url,
        register_at("collated", url) as register,
    ):
        yield register


class TestTexts:
    @pytest.mark.parametrize(
        "text", ["😀 café", "nul \0 inside", "\u2028 \\ ' \" % %s", "é" * 100_000]
    )
    def test_of_an_event_travel(self, text: str, register: Register) -> None:
        seen: Seen = []
        subscribe_async(OrderPlaced, seen.append, name="seen")
        publish(register, order_id=text)

        register.turn()

        assert [event.order_id for event in seen] == [text]

    def test_that_no_encoding_takes_are_refused_at_publication(self, register: Register) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="never")

        with pytest.raises(PayloadError, match="field 'order_id'"):
            publish(register, order_id="lone \ud83d surrogate")

        assert register.states() == {}

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("😀 café", "😀 café"),
            ("nul \0 inside", "nul \\0 inside"),
            ("lone \ud83d surrogate", "lone \\ud83d surrogate"),
            ("% %s {} ' \" \\", "% %s {} ' \" \\"),
            ("😀" * 5000, "😀" * 1000),
        ],
    )
    def test_of_an_error_end_in_the_row(self, text: str, kept: str, register: Register) -> None:
        def fail(event: OrderPlaced) -> None:
            raise PermanentFailure(text)

        subscribe_async(OrderPlaced, fail, name="fails")
        publish(register)

        register.turn()

        row = register.row("fails")
        assert row.state == "dead"
        assert kept in row.error


class TestTheCommands:
    def test_deliver_count_replay_and_prune(self, mariadb: Register) -> None:
        def fail(event: OrderPlaced) -> None:
            if not repaired:
                raise PermanentFailure("no paper left")

        repaired: list[bool] = []
        subscribe_async(OrderPlaced, fail, name="printer")
        subscribe_async(OrderPlaced, lambda event: None, name="other")
        publish(mariadb)

        assert "2 relayed." in command("relay_events", "--execute", "--once")
        assert mariadb.states() == {"printer": "dead", "other": "done"}
        status = command("events_status").split()
        assert status[status.index("dead") :][:3] == ["dead", "printer", "1"]

        repaired.append(True)
        pk = str(mariadb.row("printer").pk)
        assert "replayed: 1." in command("replay_events", "--id", pk)
        command("relay_events", "--execute", "--once")
        assert set(mariadb.states().values()) == {"done"}

        assert "deleted: 0." in command("prune_events", "--days", "1")
        assert "deleted: 2." in command("prune_events", "--days", "0")


def command(*words: str) -> str:
    printed = StringIO()
    call_command(*words, database="mariadb", stdout=printed)
    return printed.getvalue()


HURRIED = {
    "postgresql": {"options": "-c lock_timeout=1000"},
    "mariadb": {"init_command": "SET innodb_lock_wait_timeout = 1"},
}


class TestTwoRelays:
    def test_at_once_lose_nothing_and_do_nothing_twice(self, register: Register) -> None:
        def handler(event: OrderPlaced) -> None:
            register.leave_effect(event.order_id)

        subscribe_async(OrderPlaced, handler, name="effect")
        labels = [f"{number:02}" for number in range(60)]
        publish_events([OrderPlaced(order_id=label) for label in labels], using=register.using)

        def relay_all() -> None:
            while register.turn():
                pass

        assert in_parallel(register, relay_all, relay_all) == []
        assert register.effects() == labels
        assert set(register.rows.values_list("state", "attempts")) == {("done", 1)}

    @pytest.mark.parametrize("server", HURRIED)
    def test_do_not_wait_for_each_other(self, server: str, open_register: OpenRegister) -> None:
        """SKIP LOCKED : attendre échouerait ici, au bout d’une seconde."""

        def handler(event: OrderPlaced) -> None:
            started.set()
            assert finish.wait(DEADLINE)

        def wake_up_again() -> None:
            assert started.wait(DEADLINE)
            try:
                assert deliver_row(pk, register.using) is False
            finally:
                finish.set()

        started, finish = threading.Event(), threading.Event()
        register = open_register(server, **HURRIED[server])
        subscribe_async(OrderPlaced, handler, name="long")
        publish(register)
        pk = register.row("long").pk

        def first() -> None:
            deliver_row(pk, register.using)

        assert in_parallel(register, first, wake_up_again) == []
        assert register.states() == {"long": "done"}
        assert register.row("long").attempts == 1


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
@pytest.mark.parametrize(
    ("use_tz", "zone", "offset"),
    [(True, "UTC", 5), (True, "Asia/Tokyo", -5), (False, "UTC", -5), (False, "Asia/Tokyo", 5)],
)
class TestAServerThatIsNotInUtc:
    """Cinq heures entre l’horloge du serveur et UTC : ce n’est pas cinq heures de retard."""

    @pytest.fixture
    def register(
        self,
        server: str,
        use_tz: bool,
        zone: str,
        offset: int,
        settings: Settings,
        open_register: OpenRegister,
    ) -> Register:
        settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
        if server == "mariadb":
            return open_register(server, init_command=f"SET time_zone = '{offset:+03}:00'")
        return open_register(server, options=f"-c TimeZone=Etc/GMT{-offset:+}")  # POSIX: reversed

    def test_finds_a_new_row_due_at_once(self, register: Register) -> None:
        seen: Seen = []
        subscribe_async(OrderPlaced, seen.append, name="seen")
        publish(register)

        register.turn()

        assert len(seen) == 1

    def test_makes_a_delay_neither_longer_nor_shorter(self, register: Register) -> None:
        def fail_once(event: OrderPlaced) -> None:
            seen.append(event)
            if len(seen) == 1:
                raise RetryAfter(600, "no paper left")

        seen: Seen = []
        subscribe_async(OrderPlaced, fail_once, name="printer")
        publish(register)

        register.turn()
        register.turn()
        assert len(seen) == 1  # not earlier
        self.pass_time(register, seconds=590)
        register.turn()
        assert len(seen) == 1  # not yet
        self.pass_time(register, seconds=10)
        register.turn()
        assert len(seen) == 2  # not later

    def test_tells_the_age_of_a_row(self, register: Register) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="waits")
        publish(register)
        printed = StringIO()

        call_command("events_status", "--json", database=register.using, stdout=printed)

        (age,) = re.findall(r'"oldest_seconds": (-?[\d.]+)', printed.getvalue())
        assert 0 <= float(age) < 300

    def pass_time(self, register: Register, *, seconds: int) -> None:
        delay = timedelta(seconds=seconds)
        register.rows.update(
            start_after=F("start_after") - delay, send_after=F("send_after") - delay
        )


def ends_it(register: Register) -> None:
    sql(register, "ROLLBACK")


def ends_it_and_writes_again(register: Register) -> None:
    sql(register, "ROLLBACK")
    register.leave_effect("after")


def ends_it_and_begins_another(register: Register) -> None:
    sql(register, "ROLLBACK")
    sql(register, "BEGIN")


def ends_it_in_a_block(register: Register) -> None:
    with contextlib.suppress(DatabaseError), transaction.atomic(using=register.using):
        sql(register, "ROLLBACK")


def sql(register: Register, statement: str) -> None:
    with connections[register.using].cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "end", [ends_it, ends_it_and_writes_again, ends_it_and_begins_another, ends_it_in_a_block]
)
def test_a_handler_that_rolls_its_transaction_back_has_not_succeeded(
    end: Callable[[Register], None], register: Register
) -> None:
    def handler(event: OrderPlaced) -> None:
        register.leave_effect("before")
        end(register)

    seen: Seen = []
    subscribe_async(OrderPlaced, handler, name="ends it")
    subscribe_bystander(seen)
    publish(register)

    register.turn()

    row = register.row("ends it")
    assert (row.state, row.attempts) == ("pending", 1)
    assert row.error
    assert "before" not in register.effects()
    assert seen == ["bystander"]
