"""Une mise à jour par étapes : la version 0.1.0 et celle-ci, à l’œuvre sur la même table migrée.

Le code de la version 0.1.0 est celui de ``recorded/0.1.0.tar.xz``, dans un processus à lui.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import textwrap
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from .conftest import service
from .stack import Stack, new_queue, patience

RECORDED = Path(__file__).with_name("recorded") / "0.1.0.tar.xz"
TABLE = "share_kernel_outbox_delivery"
SHOP = "tests.services.shop.handlers"

# What it executes, in a process of either version, is one line of JSON.
LOOP = """
import json, os, sys, traceback, django
django.setup()
from datetime import timedelta
from celery import current_app
from django.core.management import call_command
from django.db import connections, transaction
from django.utils import timezone
from src.share_kernel.infrastructure.broker import breaker
from src.share_kernel.infrastructure.event_bus import event_bus, publish_event, publish_events
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox import delivering
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.services.shop import events, handlers
from tests.services.shop.events import Deadly, Doomed, Marked, Sold

def hurry():
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(state="pending").update(start_after=past, send_after=past)

def wake_later(event):
    breaker.trip()
    publish_event(event)
    breaker.__init__()

while line := sys.stdin.readline():
    failure = ""
    try:
        exec(json.loads(line), globals())
    except Exception:
        failure = traceback.format_exc()
    print(failure + "\\0" * (2 if failure else 1), flush=True)
"""


class Version:
    """Un processus d’une version du code, à qui l’on donne à exécuter un pas après l’autre."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOOP],
            cwd=stack.root, env=stack.env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    @property
    def pid(self) -> str:
        return str(self.process.pid)

    def __call__(self, code: str) -> str:
        """Exécute *code* ; renvoie ce qu’il affiche."""
        self.begin(code)
        return self.end()

    def begin(self, code: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(textwrap.dedent(code)) + "\n")
        self.process.stdin.flush()

    def end(self) -> str:
        assert self.process.stdout
        limit = threading.Timer(patience(), self.process.kill)
        limit.start()
        printed = ""
        while not printed.endswith("\0\n"):
            line = self.process.stdout.readline()
            assert line, f"the process has ended:\n{printed}"
            printed += line
        limit.cancel()
        assert not printed.endswith("\0\0\n"), printed
        return printed.removesuffix("\0\n")

    def deliver(self) -> None:
        self("hurry()\nwhile relay(execute=True): pass")

    def migrate(self, target: str = "") -> None:
        self(f"call_command('migrate', 'share_kernel_outbox', *{target.split()}, verbosity=0)")

    def columns(self) -> list[str]:
        return self("print(*(field.column for field in Delivery._meta.local_fields))").split()

    def leave(self) -> None:
        self.process.kill()
        self.process.communicate()


Rows = dict[str, dict[str, Any]]


@dataclass
class Upgrade:
    """Les deux versions, leur base, et ce qu’elle contenait avant et après la migration."""

    name: str
    old: Version
    new: Version
    before: Rows
    after: Rows

    def of(self, name: str) -> tuple[Version, Version]:
        """Renvoie la version qui porte ce nom, puis l’autre."""
        return (self.old, self.new) if name == "old" else (self.new, self.old)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.new.stack.query(sql)

    def effects(self, label: str) -> dict[str, list[str]]:
        """Renvoie, pour chaque handler, les processus qui ont laissé un effet."""
        found: dict[str, list[str]] = {}
        for effect in self.new.stack.effects(label):
            handler, pid = effect.split()
            found.setdefault(handler, []).append(pid)
        return found

    @property
    def waiting(self) -> int:
        ((count,),) = self.query(f"SELECT count(*) FROM {TABLE} WHERE state = 'pending'")
        return int(count)


def content(stack: Stack, columns: list[str]) -> Rows:
    """Renvoie la table, par identifiant."""
    quote = "`{}`" if stack.database_url.startswith("mysql") else '"{}"'
    names = ", ".join(map(quote.format, columns))
    rows = stack.query(f"SELECT {names} FROM {TABLE}")
    return {str(row[0]): dict(zip(columns, row, strict=True)) for row in rows}


# A row of each kind that version 0.1.0 leaves.
WRITE_ROWS = """
from src.share_kernel.infrastructure import retry
retry.BACKOFF_BASE = retry.BACKOFF_MAX  # a slow machine must not come to the second attempt
publish_event(Marked(label="before, done"))
publish_event(Doomed(label="before"))  # one has failed, one is dead, one waits an hour
publish_event(Sold(label="before, unknown"))
forgotten = event_bus.async_subscription("shop.sold", "tests.services.shop.handlers.first")
event_bus.unsubscribe(Sold, handlers.first)
relay(execute=True)
event_bus.subscribe_async(Sold, handlers.first)
publish_event(Deadly(label="before, killed"))
connections.close_all()
if not (pid := os.fork()):
    relay(execute=True)
os.waitpid(pid, 0)
publish_events([Sold(label="before"), Sold(label="before"), Marked(label="before")])
"""


@pytest.fixture(scope="module")
def older_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("0.1.0")
    with tarfile.open(RECORDED) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module", params=["postgresql", "mariadb", "sqlite"])
def upgrade(
    request: pytest.FixtureRequest,
    register_urls: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
    older_root: Path,
) -> Iterator[Upgrade]:
    folder = tmp_path_factory.mktemp("upgrade")
    url = f"sqlite:///{folder / 'db.sqlite3'}"
    if request.param != "sqlite":
        url = register_urls(f"{request.param} upgrade")
    stack = Stack(request.param, url, service("REDIS_URL"), folder, extra_env={"OUTBOX": "1"})
    older = replace(stack, root=older_root, queue=new_queue())
    with ExitStack() as leaving:
        old, new = Version(older), Version(stack)
        for version in (old, new):
            leaving.callback(version.stack.delete_queue)
            leaving.callback(version.leave)
        old("call_command('migrate', run_syncdb=True, verbosity=0)")
        without_a_broker = Version(replace(older, broker_url=""))
        leaving.callback(without_a_broker.leave)
        without_a_broker(WRITE_ROWS)
        before = content(older, old.columns())
        new.migrate()
        yield Upgrade(request.param, old, new, before, content(older, new.columns()))


def test_the_migration_keeps_every_row(upgrade: Upgrade) -> None:
    states = Counter((row["state"], row["attempts"]) for row in upgrade.before.values())
    assert states == {
        ("done", 1): 2,
        ("dead", 1): 1,
        ("pending", 1): 4,  # failed, patient, killed, flaky
        ("pending", 0): 8,  # untouched, or waits for a deployment
    }
    added: dict[str, Any] = {"position": 0, "key": None, "reserved_until": None}
    assert set(upgrade.new.columns()) - set(upgrade.old.columns()) == set(added)
    assert upgrade.after == {pk: row | added for pk, row in upgrade.before.items()}


def test_the_new_code_delivers_what_was_there(upgrade: Upgrade) -> None:
    upgrade.new.deliver()
    upgrade.new.deliver()
    upgrade.new.deliver()

    new = upgrade.new.pid
    assert upgrade.effects("before") == {
        "first": [new, new], "flaky": [new, new], "third": [new, new], "mark": [new]
    }  # fmt: skip
    assert upgrade.effects("before, killed") == {"dies": [new]}
    assert set(upgrade.effects("before, unknown")) == {"first", "flaky", "third"}


@pytest.fixture
def label() -> str:
    return uuid.uuid4().hex[:12]


either = pytest.mark.parametrize("name", ["old", "new"])


@either
def test_what_either_publishes_the_other_delivers(name: str, upgrade: Upgrade, label: str) -> None:
    publisher, other = upgrade.of(name)

    publisher(f"publish_events([Sold(label={label!r}), Marked(label={label!r})])")
    for _ in range(3):
        other.deliver()

    names = ["first", "flaky", "third", "mark"]
    assert upgrade.effects(label) == {name: [other.pid] for name in names}


def test_relays_of_both_side_by_side_deliver_each_row_once(upgrade: Upgrade, label: str) -> None:
    count = 150
    relaying = f"""
    for number in range({count} // 10):
        publish_events([Marked(label={label!r}) for _ in range(10)])
        relay(execute=True)
    for _ in range(200):
        relay(execute=True)
        if not Delivery.objects.filter(state="pending").exists():
            break
    """
    for version in (upgrade.old, upgrade.new):
        version.begin(relaying)
    for version in (upgrade.old, upgrade.new):
        version.end()
    assert upgrade.waiting == 0

    effects = upgrade.query(f"SELECT event_id, pid FROM shop_effect WHERE label = '{label}'")
    assert len(effects) == len({event for event, _ in effects}) == 2 * count
    assert {str(pid) for _, pid in effects} == {upgrade.old.pid, upgrade.new.pid}


def test_what_the_new_has_reserved_is_run_once(upgrade: Upgrade, label: str) -> None:
    upgrade.old(f"publish_events([Marked(label={label!r}) for _ in range(5)])")

    upgrade.new(
        "hurry(); rows = Delivery.objects.using('default').reserve(5); assert len(rows) == 5"
    )
    upgrade.old("count = relay(execute=True)")
    upgrade.new("delivering._Batch(rows, 'default', bool, goes_on=True).deliver()")

    assert upgrade.effects(label) == {"mark": [upgrade.old.pid] * 5}
    assert upgrade.waiting == 0


def test_what_the_old_has_claimed_is_run_once(upgrade: Upgrade, label: str) -> None:
    upgrade.new(f"publish_event(Marked(label={label!r}))")

    upgrade.old(
        """
        hurry()
        pk = Delivery.objects.get(state="pending").pk
        assert delivering._claim(pk, "default")
        """
    )
    upgrade.new("assert relay(execute=True) == 0")
    upgrade.old(
        """
        with transaction.atomic():
            delivering._attempt(delivering._locked(pk, "default"), "default")
        """
    )

    assert upgrade.effects(label) == {"mark": [upgrade.old.pid]}
    assert upgrade.waiting == 0


# On SQLite, 0.1.0 waits for the lock; it knew nothing of MariaDB.
@pytest.mark.parametrize("upgrade", ["postgresql"], indirect=True)
def test_a_row_that_the_new_runs_is_skipped_by_the_old(upgrade: Upgrade, label: str) -> None:
    upgrade.old(f"publish_event(Marked(label={label!r}))")

    upgrade.new(
        """
        hurry()
        (row,) = Delivery.objects.using("default").reserve(5)
        running = transaction.atomic()
        running.__enter__()
        assert Delivery.objects.using("default").lock(row)
        """
    )
    upgrade.old("assert relay(execute=True) == 0")
    upgrade.new("running.__exit__(None, None, None)")

    assert upgrade.effects(label) == {}
    upgrade.old("assert relay(execute=True) == 1")
    assert upgrade.effects(label) == {"mark": [upgrade.old.pid]}


# Last: it goes back to the table of 0.1.0.
def test_going_back_leaves_the_old_what_it_can_deliver(upgrade: Upgrade, label: str) -> None:
    upgrade.new(
        f"""
        publish_events([Marked(label={label!r}) for _ in range(2)])
        head = Delivery.objects.filter(state="pending").first()
        Delivery.objects.abandon(head, attempts=0, error="no paper left", holds=True)
        """
    )
    before = content(upgrade.new.stack, upgrade.old.columns())

    upgrade.new.migrate("0001")

    assert set(content(upgrade.old.stack, upgrade.old.columns())) == set(before)
    upgrade.old(
        """
        call_command("replay_events", "--handler", "tests.services.shop.handlers.mark")
        """
    )
    upgrade.old.deliver()
    assert upgrade.effects(label) == {"mark": [upgrade.old.pid] * 2}
    upgrade.new.migrate()
