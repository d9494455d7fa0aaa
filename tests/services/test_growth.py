"""Ce que coûtent l’état, la reprise, l’effacement et l’administration quand le registre grandit."""

import contextlib
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.messages.storage.cookie import CookieStorage
from django.core.management import call_command
from django.db import transaction
from django.test import RequestFactory, override_settings
from pytest_django import DjangoDbBlocker

from src.share_kernel.infrastructure.event_bus import subscribe_async
from src.share_kernel.infrastructure.outbox import status as outbox_status
from src.share_kernel.infrastructure.outbox.admin import SHOWN
from src.share_kernel.infrastructure.outbox.models import (
    NOT_SENT,
    SLICE,
    TABLE,
    WAITING,
    Delivery,
)
from src.share_kernel.infrastructure.outbox.status import status
from tests.share_kernel.events import OrderPlaced

from .plans import Plan, explained
from .registers import Register, register_at

Rows = Any  # Delivery’s own queryset, which django-stubs takes for another

DAYS = 60  # over which the rows were settled
RARE = "shop.handlers.never_called"


class Router:
    """L’administration lit la base de Django : celle-ci en est une, le temps d’un test."""

    def __init__(self, using: str) -> None:
        self.using = using

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self.using if model is Delivery else None

    db_for_write = db_for_read


def page(register: Register, **query: str) -> Any:
    request: Any = RequestFactory().get("/", query)
    request.user = User(pk=1, is_superuser=True, is_staff=True, is_active=True)
    request._messages = CookieStorage(request)
    with override_settings(DATABASE_ROUTERS=[Router(register.using)]):
        response: Any = admin.site.get_model_admin(Delivery).changelist_view(request)
        assert response.status_code == 200
        return response.render()


# What an operator does.
ACTS: dict[str, Callable[[Register], Any]] = {
    "status": lambda register: status(register.using),
    "replay": lambda register: rows(register).replay(),
    "replay, of one handler": lambda register: rows(register).filter(handler=RARE).replay(),
    "replay, dry run": lambda register: call_command(
        "replay_events", "--all", "--dry-run", database=register.using, stdout=StringIO()
    ),
    "hurry": lambda register: rows(register).waiting().hurry(),
    "give up": lambda register: rows(register).give_up("enough"),
    "prune": lambda register: rows(register).prune(days=DAYS - 0.4, include_dead=True),
    "prune, nothing to do": lambda register: rows(register).prune(days=DAYS + 1),
    "list": page,
    "list, dead": lambda register: page(register, state="dead"),
    "list, done": lambda register: page(register, state="done"),
    "list, done, sorted": lambda register: page(register, state="done", o="1.-2"),
    "list, done, of one handler": lambda register: page(register, state="done", handler=RARE),
    "list, of one event": lambda register: page(register, event_type="shop.order_placed"),
    "list, further": lambda register: page(register, state="done", p="5"),
    "search": lambda register: page(register, q="00000000-0000-7000-9000-000000000010"),
}


def reserved(
    register: Register, count: int, which: str = "error = ''", skipped: int = 150
) -> list[Delivery]:
    """Réserve des lignes que l’on désigne, prises au milieu de ce qui attend, ou en tête."""
    found = register.ask(
        f"SELECT id FROM {TABLE} WHERE state = 'pending' AND {which} ORDER BY id "
        f"LIMIT {count} OFFSET {skipped}"
    )
    taken: list[Delivery] = rows(register).reserve(count, [pk for (pk,) in found])
    assert len(taken) == (count if which != KEYED or not skipped else 0)
    return taken


KEYED = f"{TABLE}.key IS NOT NULL"
HEADS = (KEYED, 0)  # of their lines


def one(register: Register) -> Delivery:
    return reserved(register, 1)[0]


def in_line(register: Register) -> Delivery:
    return reserved(register, 1, *HEADS)[0]


# What a delivery does, and how many rows each writes or returns.
STEPS: dict[str, tuple[int, Callable[[Register], Any]]] = {
    "reserve": (100, lambda register: rows(register).reserve(100)),
    "reserve, named": (100, lambda register: reserved(register, 100)),
    "reserve, of keys": (100, lambda register: reserved(register, 100, *HEADS)),
    "reserve, held back": (100, lambda register: reserved(register, 100, KEYED)),
    "start": (1, lambda register: rows(register).start(one(register))),
    "start, in line": (1, lambda register: rows(register).start(in_line(register))),
    "lock": (1, lambda register: rows(register).lock(one(register))),
    "settle": (1, lambda register: rows(register).settle(one(register))),
    "renew": (1, lambda register: rows(register).renew(one(register), 1)),
    "postpone": (1, lambda register: rows(register).postpone(
        one(register), delay=1, attempts=1, error="no paper left")),
    "abandon": (1, lambda register: rows(register).abandon(
        one(register), attempts=1, error="no paper left")),
    "release": (100, lambda register: rows(register).release(reserved(register, 100))),
    "hand over": (10, lambda register: rows(register).hand_over(RARE, "k7")),
    "lease": (100, lambda register: rows(register).lease(100)),
    "on their way": (100, lambda register: rows(register).on_their_way(100)),
    "not sent": (1, lambda register: rows(register).not_sent([one(register).pk])),
    "refused": (1, lambda register: rows(register).refused(one(register).pk, "no queue")),
}  # fmt: skip


# A page sorts what it shows; what waits for a deployment has no index: all that waits is read.
MAY_SORT = [act for name, act in ACTS.items() if name.startswith(("list", "search", "hurry"))]


def rows(register: Register) -> Rows:
    return register.rows


def costs(register: Register, act: Callable[[Register], Any]) -> list[Plan]:
    """Explique les requêtes de *act*, dont rien ne reste."""
    with transaction.atomic(using=register.using), explained(register.using) as plans:
        act(register)
        transaction.set_rollback(True, using=register.using)
    assert plans
    return plans


class Filling:
    """Insère des lignes par milliers, dans l’ordre des identifiants, des rangs et des dates."""

    def __init__(self, register: Register, settled: int) -> None:
        self.register, self.settled, self.first = register, settled, 0

    def __call__(self, count: int, state: str, *, key: str = "NULL", error: str = "") -> None:
        stored, late = self.first + count, "0" if state != "pending" or not error else "3600 + n"
        ago = self.clock(f"(n - {self.settled}) * 86400.0 * {DAYS} / {self.settled}")
        columns = {
            "id": self.uuid(8),
            "event_id": self.uuid(9),
            "event_type": "'shop.order_placed'",
            "event_version": "1",
            "handler": "'shop.handlers.notify'",
            "depth": "1",
            "payload": "repeat('x', 330)",
            "state": f"'{state}'",
            "attempts": "1",
            "sends": "0",
            "error": f"'{error}'",
            self.quoted("key"): key,
            **dict.fromkeys(["created_at", "pending_since"], self.clock("0")),
            **dict.fromkeys(["start_after", "send_after"], self.clock(late)),
            "settled_at": "NULL" if state == "pending" else ago,
        }
        series = f"generate_series({self.first}, {stored - 1}) n"
        if self.register.is_mariadb:
            sequence = f"seq_{self.first}_to_{stored - 1}"
            series = f"(SELECT CAST(seq AS signed) AS n FROM {sequence}) AS numbers"
        self.register.ask(
            f"INSERT INTO {TABLE} ({', '.join(columns)}) "
            f"SELECT {', '.join(columns.values())} FROM {series}"
        )
        self.first = stored

    def uuid(self, variant: int) -> str:
        digits = "lpad(hex(n), 12, '0')" if self.register.is_mariadb else "lpad(to_hex(n), 12, '0')"
        text = f"concat('00000000-0000-7000-{variant}000-', {digits})"
        return text if self.register.is_mariadb else f"({text})::uuid"

    def quoted(self, name: str) -> str:
        return f"`{name}`" if self.register.is_mariadb else name

    def clock(self, seconds: str) -> str:
        if self.register.is_mariadb:
            return f"utc_timestamp(6) + interval {seconds} second"
        return f"now() + interval '1 second' * ({seconds})"

    def settle(self) -> None:
        self(self.settled, "done")

    def wait(self, pending: int, dead: int) -> None:
        self(dead, "dead", error="no paper left")
        self(dead // 10, "holding", key="concat('k', n)")
        self(pending, "pending")
        self(pending // 4, "pending", key="concat('k', n % 100)")
        self(pending // 4, "pending", error=f"{WAITING}a handler")
        self(pending // 4, "pending", error=f"{NOT_SENT}no such queue")


pytestmark = pytest.mark.usefixtures("_known")


@pytest.fixture
def _known() -> None:
    subscribe_async(OrderPlaced, lambda event: None, name=RARE)


@contextlib.contextmanager
def grown(url: str, settled: int) -> Iterator[tuple[Register, Filling]]:
    with register_at(f"growing {url[:5]}", url) as register:
        yield register, Filling(register, settled)


@pytest.fixture(scope="module")
def big(
    register_urls: Callable[[str], str], django_db_blocker: DjangoDbBlocker
) -> Iterator[Register]:
    """Deux cent mille lignes soldées, des statistiques prises alors, puis de quoi attendre."""
    url = register_urls("postgresql growth")
    with django_db_blocker.unblock(), grown(url, settled=200_000) as (register, fill):
        register.ask(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
        fill.settle()
        register.ask(f"VACUUM ANALYZE {TABLE}")
        fill.wait(pending=3_000, dead=1_500)
        yield register


@pytest.fixture(scope="module", params=["of nothing pending", "fresh"])
def with_statistics(request: pytest.FixtureRequest, big: Register) -> Register:
    """Les unes puis les autres statistiques."""
    if request.param == "fresh":
        big.ask(f"ANALYZE {TABLE}")
    return big


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_statement_reads_the_whole_table_of_postgresql(
    act: Callable[[Register], Any], with_statistics: Register
) -> None:
    ((size,),) = with_statistics.ask(f"SELECT pg_relation_size('{TABLE}') / 8192")

    plans = costs(with_statistics, act)

    assert [plan.sql for plan in plans if "Seq Scan" in plan.text] == []
    if act not in MAY_SORT:
        assert [plan.sql for plan in plans if "Sort" in plan.text] == []
    for plan in plans:
        # Finding a row by its key touches four pages; writing it, a few of each index.
        named = 30 * SLICE if not plan.reads else 15 * SHOWN
        assert plan.buffers < (named if '"id" IN' in plan.sql else size / 3), plan.sql[:200]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_delivery_reads_its_own_rows_alone_on_postgresql(
    step: tuple[int, Callable[[Register], Any]], with_statistics: Register
) -> None:
    count, act = step

    plans = costs(with_statistics, act)

    for plan in plans:
        assert "Seq Scan" not in plan.text
        assert plan.buffers < 60 * (count + 5), (plan.sql, plan.text)


@pytest.fixture(scope="module")
def on_mariadb(
    register_urls: Callable[[str], str], django_db_blocker: DjangoDbBlocker
) -> Iterator[Register]:
    url = register_urls("mariadb growth")
    with django_db_blocker.unblock(), grown(url, settled=20_000) as (register, fill):
        fill.settle()
        fill.wait(pending=1_200, dead=150)
        register.ask(f"ANALYZE TABLE {TABLE}")
        yield register


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_each_statement_has_an_index_on_mariadb(
    act: Callable[[Register], Any], on_mariadb: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_status, "END", 500)

    plans = costs(on_mariadb, act)

    assert [plan for plan in plans if plan.accesses & {"ALL", "index"}] == []


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_each_step_of_a_delivery_has_an_index_on_mariadb(
    step: tuple[int, Callable[[Register], Any]], on_mariadb: Register
) -> None:
    _, act = step

    assert [plan for plan in costs(on_mariadb, act) if plan.accesses & {"ALL", "index"}] == []
