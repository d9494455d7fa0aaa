"""Ce que seul PostgreSQL fait au registre : la sérialisation, et un plan qui s’effondre."""

import contextlib
import json
from collections.abc import Iterator
from operator import sub
from typing import Any
from zlib import crc32

import psycopg
import pytest
from django.db import connections, transaction
from django.utils import timezone

from src.module.accounting.models import LedgerEntry
from src.share_kernel.infrastructure.event_bus import publish_event, publish_events, subscribe_async
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.one_row import deliver_row

from .conftest import OpenRegister
from .registers import Register, in_parallel

TABLE = "share_kernel_outbox_delivery"


class TestSerializableIsolation:
    @pytest.fixture
    def register(self, open_register: OpenRegister) -> Register:
        return open_register("postgresql", isolation_level=psycopg.IsolationLevel.SERIALIZABLE)

    def test_loses_no_delivery_of_two_relays_and_kills_neither(self, register: Register) -> None:
        """Chaque handler lit ce que les autres écrivent : un conflit est sûr, ou presque."""

        def handler(event: OrderPlaced) -> None:
            LedgerEntry.objects.using(register.using).count()
            register.leave_effect(event.order_id)

        def relay_all() -> None:
            while register.turn():
                pass

        labels = [f"{number:02}" for number in range(60)]
        subscribe_async(OrderPlaced, handler, name="counts", max_attempts=60)
        publish_events([OrderPlaced(order_id=label) for label in labels], using=register.using)

        for _ in range(60):
            assert in_parallel(register, relay_all, relay_all) == []
            if not register.rows.filter(state="pending").exists():
                break
            register.bring_forward()

        assert register.effects() == labels
        assert register.states() == {"counts": "done"}

    @pytest.mark.parametrize("when", ["in the handler", "at the commit"])
    def test_makes_a_conflict_an_attempt(self, register: Register, when: str) -> None:
        """Un rival et le handler lisent chacun ce que l’autre écrit : l’un des deux est de trop."""

        def handler(event: OrderPlaced) -> None:
            attempts.append(event)
            LedgerEntry.objects.using(register.using).count()
            if len(attempts) == 1 and when == "in the handler":
                write_skew(register)
            register.leave_effect("effect")
            if len(attempts) == 1 and when == "at the commit":
                write_skew(register)

        attempts: list[Any] = []
        seen: list[str] = []
        subscribe_async(OrderPlaced, handler, name="in conflict")
        subscribe_async(OrderPlaced, lambda event: seen.append("bystander"), name="bystander")
        publish_event(OrderPlaced(), using=register.using)

        register.turn()
        row = register.row("in conflict")
        assert (row.state, row.attempts) == ("pending", 1)
        assert "could not serialize access" in row.error
        assert (register.effects(), seen) == (["rival"], ["bystander"])

        register.bring_forward()
        register.turn()
        assert register.states() == {"in conflict": "done", "bystander": "done"}
        assert register.effects() == ["effect", "rival"]


def write_skew(register: Register) -> None:
    """Une transaction entière d’un rival, qui lit les écritures comptables et en ajoute une."""
    with psycopg.connect(register.url) as rival:
        rival.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        rival.execute("SELECT count(*) FROM accounting_ledgerentry")
        rival.execute(
            "INSERT INTO accounting_ledgerentry (invoice_number, amount) VALUES ('rival', 0)"
        )


class TestSeveralReservations:
    """Deux relais qui cherchent ensemble verrouilleraient un instant les lignes l’un de l’autre."""

    @pytest.fixture(autouse=True)
    def _published(self, postgresql: Register) -> Iterator[None]:
        subscribe_async(OrderPlaced, lambda event: None, name="h")
        publish_events([OrderPlaced() for _ in range(3)], using=postgresql.using)
        yield
        postgresql.empty()

    def test_are_made_one_at_a_time(self, postgresql: Register) -> None:
        rows: Any = postgresql.rows
        with transaction.atomic(using=postgresql.using):
            assert len(rows.reserve(3)) == 3

            assert self.locks(postgresql) == 1
        assert self.locks(postgresql) == 0

    def test_do_not_wait_for_one_that_is_frozen(self, postgresql: Register) -> None:
        rows: Any = postgresql.rows
        with psycopg.connect(postgresql.url) as frozen:
            frozen.execute("SELECT pg_advisory_xact_lock(%s)", [crc32(TABLE.encode())])

            assert len(rows.reserve(3)) == 3

    def test_of_rows_that_are_named_ask_nobody(self, postgresql: Register) -> None:
        rows: Any = postgresql.rows
        with transaction.atomic(using=postgresql.using):
            rows.reserve(1, list(rows.values_list("pk", flat=True)))

            assert self.locks(postgresql) == 0

    def locks(self, register: Register) -> int:
        here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        sql = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {here}"
        ((count,),) = register.ask(sql)
        return int(count)


class TestWritingInPlace:
    def test_reserving_and_counting_write_no_index(self, postgresql: Register) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="h")
        postgresql.ask(f"VACUUM FULL {TABLE}")
        before = self.updates(postgresql)
        publish_events([OrderPlaced() for _ in range(300)], using=postgresql.using)

        postgresql.drain()

        every, in_place = map(sub, self.updates(postgresql), before)
        assert every == pytest.approx(3 * 300, rel=0.05)  # reserve, count, settle
        assert in_place / every > 0.5  # a third, if a reservation wrote an index
        postgresql.empty()

    def updates(self, register: Register) -> tuple[int, int]:
        counts = "n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        with connections[register.using].cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
        ((every, in_place),) = register.ask(f"SELECT {counts} WHERE relname = '{TABLE}'")
        return every, in_place


class TestStatisticsTakenWhileNothingWaits:
    """L’état normal d’une file : des milliers de lignes soldées, aucune en attente."""

    @pytest.fixture
    def register(self, postgresql: Register) -> Iterator[Register]:
        subscribe_async(OrderPlaced, lambda event: None, name="h")
        postgresql.ask(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
        self.publish(postgresql, 5_000)
        postgresql.rows.update(state="done", settled_at=timezone.now())
        postgresql.ask(f"VACUUM ANALYZE {TABLE}")
        self.publish(postgresql, 3_000)
        yield postgresql
        postgresql.ask(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")
        postgresql.empty()
        postgresql.ask(f"VACUUM ANALYZE {TABLE}")

    def publish(self, register: Register, count: int) -> None:
        publish_events([OrderPlaced() for _ in range(count)], using=register.using)

    def test_do_not_make_a_delivery_read_the_whole_backlog(self, register: Register) -> None:
        pending = register.rows.filter(state="pending").order_by("start_after")
        pk = pending.values_list("pk", flat=True)[1_500]

        with buffers_of_each_statement(register.using) as buffers:
            assert deliver_row(pk, register.using)

        assert len([sql for sql in buffers if sql.startswith("UPDATE")]) >= 2  # claim, settle
        assert {sql: count for sql, count in buffers.items() if count > 300} == {}


@contextlib.contextmanager
def buffers_of_each_statement(using: str) -> Iterator[dict[str, int]]:
    """Compte les pages que lit chaque requête sur la table, exécutée une fois de plus pour rien."""
    buffers: dict[str, int] = {}

    def measure(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if TABLE in sql and sql.startswith(("UPDATE", "SELECT")):
            with transaction.atomic(using=using), context["connection"].cursor() as cursor:
                cursor.cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
                ((plans,),) = cursor.cursor.fetchall()
                transaction.set_rollback(True, using=using)
            plan = (json.loads(plans) if isinstance(plans, str) else plans)[0]["Plan"]
            buffers[sql] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(measure):
        yield buffers
