"""L’ordre par clé, sur chaque base : plusieurs relais, des pannes à chaque pas, des rivaux."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.models import QuerySet

from src.share_kernel.domain.domain_event import RetryAfter
from src.share_kernel.infrastructure.outbox import delivering
from src.share_kernel.infrastructure.outbox.delivering import _Batch
from src.share_kernel.infrastructure.outbox.models import Delivery, DeliveryQuerySet

from .conftest import OpenRegister
from .databases import connect_to_mariadb
from .forks import relay_in, relays
from .lines import Line
from .registers import Register, in_parallel
from .stack import eventually

SQLITE = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
OPTIONS: dict[str, dict[str, Any]] = {"postgresql": {}, "mariadb": {}, "sqlite": SQLITE}


@pytest.fixture(params=OPTIONS)
def register(request: pytest.FixtureRequest, open_register: OpenRegister) -> Register:
    return open_register(request.param, **OPTIONS[request.param])


@pytest.fixture
def line(register: Register, tmp_path: Path) -> Line:
    return Line(register, tmp_path / "starts.txt")


def until_nothing_waits(register: Register) -> None:
    eventually(lambda: not register.rows.filter(state="pending").exists(), "nothing waits")


class TestSeveralRelays:
    @pytest.mark.parametrize(("count", "batch"), [(2, 100), (4, 5)])
    def test_keep_the_order_of_each_key(
        self,
        count: int,
        batch: int,
        register: Register,
        line: Line,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(delivering, "BATCH", batch)
        line.publish(a=40, b=20)

        with relays(register, count):
            line.publish(c=20, d=10)
            until_nothing_waits(register)

        assert line.has_kept(a=40, b=20, c=20, d=10)
        assert set(register.attempts()) == {1}

    def test_wait_for_a_head_that_fails(self, register: Register, line: Line) -> None:
        def fail_twice() -> None:
            if line.of("a").count(3) < 3:
                raise RetryAfter(0.1)

        line.on_start["a", 3] = fail_twice
        line.publish(a=8, b=8)

        with relays(register, 2):
            until_nothing_waits(register)

        assert line.has_kept(a=8, b=8)
        assert sorted(register.attempts()) == [1] * 15 + [3]


# Each step of a batch: the method, the call of it, whether the process dies before or after it,
# and how many attempts are burnt.
STEPS = {
    "reserving": (DeliveryQuerySet, "_reserve", 1, "after", 0),
    "before the lock": (DeliveryQuerySet, "lock", 1, "before", 1),
    "under the lock": (DeliveryQuerySet, "lock", 2, "after", 1),
    "in the handler": (Line, "__call__", 3, "after", 1),
    "settling": (DeliveryQuerySet, "settle", 3, "after", 1),
    "counting the next": (DeliveryQuerySet, "start", 2, "after", 1),
    "between two rows": (_Batch, "_next", 3, "before", 1),
    "a failure": (DeliveryQuerySet, "postpone", 1, "after", 1),
    "before handing over": (DeliveryQuerySet, "hand_over", 1, "before", 1),
    "handing over": (DeliveryQuerySet, "hand_over", 1, "after", 1),
    "giving back": (DeliveryQuerySet, "release", 1, "before", 0),
    "given back": (DeliveryQuerySet, "release", 1, "after", 0),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_relay_killed_at_any_step_burns_one_attempt(
    step: str, register: Register, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, call, when, burnt = STEPS[step]
    method, calls = getattr(owner, name), []

    def fatal(*args: Any, **options: Any) -> Any:
        calls.append(name)
        if when == "before" and len(calls) == call:
            die()
        result = method(*args, **options)
        if when == "after" and len(calls) == call:
            die()
        return result

    def fail_once() -> None:
        if line.of("b").count(3) == 1:
            raise RetryAfter(0)

    if step == "a failure":
        line.on_start["b", 3] = fail_once
    if step in ("giving back", "given back"):
        line.on_start["b", 1] = stop_this_relay
    line.publish(a=4, b=4)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fatal)
        assert relay_in(register, once=True).end() == -signal.SIGKILL

    line.on_start.pop(("b", 1), None)
    register.lapse()
    register.drain()

    assert line.has_kept(a=4, b=4)
    assert sum(register.attempts()) == 8 + burnt
    assert max(register.attempts()) == 1 + burnt


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop_this_relay() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_relay_asked_to_stop_gives_the_rest_back_at_once(register: Register, line: Line) -> None:
    line.on_start["a", 1] = stop_this_relay
    line.publish(a=4, b=4)

    assert relay_in(register).end() == 0

    assert line.starts() == [("a", 0), ("b", 0), ("a", 1)]
    waiting = register.rows.filter(state="pending")
    assert set(waiting.values_list("reserved_until", "attempts")) == {(None, 0)}
    register.drain()
    assert line.has_kept(a=4, b=4)
    assert set(register.attempts()) == {1}


class Stall:
    """Un relais qui se fige, et revient quand on le lui permet."""

    def __init__(self) -> None:
        self.is_still, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if not self.is_still.is_set():
            self.is_still.set()
            assert self.may_go_on.wait(60)

    def during(self, register: Register, meanwhile: Callable[[], None]) -> None:
        """Fait *meanwhile* pendant qu’un relais est figé, puis le laisse finir."""

        def rival() -> None:
            try:
                assert self.is_still.wait(60)
                meanwhile()
            finally:
                self.may_go_on.set()

        assert in_parallel(register, register.turn, rival) == []


class TestAReservationThatLapses:
    """Un relais figé plus longtemps que sa réservation : un autre passe, puis il revient."""

    STALLS = {
        "between two rows": (_Batch, "_deliver", 3),
        "before handing over": (DeliveryQuerySet, "hand_over", 1),
        "giving back": (DeliveryQuerySet, "release", 1),
    }

    @pytest.mark.parametrize("step", STALLS)
    def test_at_any_step_leaves_the_order_and_one_effect(
        self, step: str, register: Register, line: Line, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, name, call = self.STALLS[step]
        method, calls, stall = getattr(owner, name), [], Stall()

        def slow(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == call:
                stall()
            return method(*args, **options)

        def meanwhile() -> None:
            register.lapse()
            register.turn()

        def fail_once() -> None:
            if line.of("a").count(1) == 1:
                raise RetryAfter(0)

        monkeypatch.setattr(owner, name, slow)
        if step == "giving back":
            line.on_start["a", 1] = fail_once
        line.publish(a=4, b=4)
        stall.during(register, meanwhile)
        register.drain()

        assert line.has_kept(a=4, b=4)
        assert sum(register.attempts()) <= 9

    def test_in_a_handler_lets_nobody_pass(
        self, open_register: OpenRegister, server: str, tmp_path: Path
    ) -> None:
        options = OPTIONS[server] | ({"timeout": 0.1} if server == "sqlite" else {})
        register = open_register(server, **options)
        line, stall = Line(register, tmp_path / "starts.txt"), Stall()
        line.on_start["a", 1] = stall
        line.publish(a=4, b=4)

        def meanwhile() -> None:
            if server != "sqlite":  # where a handler that writes stops all the others
                register.lapse()
            register.turn()
            assert line.of("a") == [0, 1]

        stall.during(register, meanwhile)
        register.drain()

        assert line.has_kept(a=4, b=4)
        assert set(register.attempts()) == {1}

    @pytest.fixture(params=OPTIONS)
    def server(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


class Rival:
    """Une connexion qui verrouille des lignes, et s’en va quand elle veut."""

    def __init__(self, register: Register) -> None:
        self.connection: Any
        if register.is_mariadb:
            self.connection = connect_to_mariadb(register.url)
            self.connection.autocommit(False)
        else:
            self.connection = psycopg.connect(register.url)

    def locks(self, rows: QuerySet[Delivery]) -> None:
        table = Delivery._meta.db_table
        with contextlib.closing(self.connection.cursor()) as cursor:
            for pk in rows.values_list("pk", flat=True):  # by its key: MariaDB locks what it reads
                cursor.execute(f"SELECT id FROM {table} WHERE id = '{pk}' FOR UPDATE")
                cursor.fetchall()

    def leaves(self) -> None:
        self.connection.rollback()


IMPATIENT: dict[str, dict[str, Any]] = {
    "postgresql": {"options": "-c lock_timeout=500"},
    "mariadb": {"init_command": "SET innodb_lock_wait_timeout = 1"},
}


class TestARivalThatLocksRows:
    """Une sauvegarde, un script d’administration : des verrous, et aucun essai."""

    @pytest.fixture(params=IMPATIENT)
    def register(self, request: pytest.FixtureRequest, open_register: OpenRegister) -> Register:
        return open_register(request.param, **IMPATIENT[request.param])

    @pytest.fixture
    def rival(self, register: Register) -> Iterator[Rival]:
        rival = Rival(register)
        yield rival
        rival.connection.close()

    def test_holds_back_a_key_and_no_other(
        self, register: Register, line: Line, rival: Rival
    ) -> None:
        line.publish(a=4, b=4)
        rival.locks(register.rows.filter(key="a").order_by("position")[1:2])

        register.turn()
        assert line.starts() == [("a", 0), *(("b", step) for step in range(4))]

        rival.leaves()
        register.drain()
        assert line.has_kept(a=4, b=4)
        assert set(register.attempts()) == {1}

    def test_while_a_handler_runs_does_not_undo_it(
        self, register: Register, line: Line, rival: Rival
    ) -> None:
        line.publish(a=4, b=4)
        first = register.rows.order_by("position")[0]
        line.on_start["a", 0] = lambda: rival.locks(register.rows.exclude(pk=first.pk))

        register.turn()
        assert register.effects() == ["a 0"]
        assert register.rows.get(pk=first.pk).state == "done"

        rival.leaves()
        register.lapse()
        register.drain()
        assert line.has_kept(a=4, b=4)
        assert set(register.attempts()) == {1}

    @pytest.mark.parametrize("untried", [0, 1, 3])
    def test_for_an_instant_does_not_keep_what_is_given_back(
        self,
        untried: int,
        register: Register,
        line: Line,
        rival: Rival,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        line.publish(a=1, b=1, c=1)
        rows = register.rows.reserve(3)
        for row in rows[1:untried]:
            assert register.rows.start(row)
        rival.locks(register.rows.all())
        monkeypatch.setattr(time, "sleep", lambda _: rival.leaves())  # while one waits for it

        register.rows.release(rows[untried:], untried=rows[:untried])

        assert register.rows.filter(reserved_until=None).count() == 3
        assert register.attempts() == ([1, 0, 0] if untried == 0 else [0, 0, 0])

    def test_before_a_handler_starts_costs_no_attempt(
        self, register: Register, line: Line, rival: Rival, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock, locked = DeliveryQuerySet.lock, list[bool]()

        def lock_after(rows: DeliveryQuerySet, row: Delivery) -> bool:
            if not locked:
                rival.locks(register.rows.filter(pk=row.pk))
            locked.append(lock(rows, row))
            rival.leaves()
            return locked[-1]

        monkeypatch.setattr(DeliveryQuerySet, "lock", lock_after)
        line.publish(a=4, b=4)

        register.drain()

        assert locked == [False, *[True] * 8]
        assert line.has_kept(a=4, b=4)
        assert set(register.attempts()) == {1}
