"""Un broker qui refuse, se tait, coupe : la demande survit, et le travail a lieu."""

import contextlib
import json
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Queue

from .conftest import missing
from .proxy import Proxy
from .stack import Stack, Worker, eventually, new_queue, patience

# Counts the connection attempts of this very process, and tells which labels ran here.
PUBLISH = """
import json, sys
from tests.services.shop.handlers import mark
from src.share_kernel.infrastructure.event_bus import subscribe_async
attempts, here = [], []
def count(event, args):
    if event == "socket.connect" and args[1][1:] == ({port},):
        attempts.append(args[1])
sys.addaudithook(count)
subscribe_async(Marked, lambda event: here.append(event.label), name="here")
from src.share_kernel.infrastructure.event_bus import unsubscribe
unsubscribe(Marked, mark)

def commit(*labels):
    attempts.clear(), here.clear()
    with transaction.atomic():
        for label in labels:
            publish_event(Marked(label=label))
    print(json.dumps({{"attempts": len(attempts), "here": here}}))
"""


@pytest.fixture
def label() -> str:
    return uuid.uuid4().hex[:12]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def commits(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
class TestRefused:
    def stack(self, scheme: str, port: int, tmp_path: Any) -> Stack:
        stack = Stack(
            scheme, f"sqlite:///{tmp_path / 'db.sqlite3'}", f"{scheme}://127.0.0.1:{port}", tmp_path
        )
        stack.migrate()
        return stack

    def test_the_work_is_done_here_with_two_attempts_a_commit(
        self, scheme: str, closed_port: int, tmp_path: Any
    ) -> None:
        labels = [f"order-{number}" for number in range(50)]

        printed = self.stack(scheme, closed_port, tmp_path).run(
            PUBLISH.format(port=closed_port) + f"commit(*{labels})"
        )

        (result,) = commits(printed)
        assert result["here"] == labels
        assert 1 <= result["attempts"] <= 2
        assert printed.count("The broker failed on event") == 1
        assert "No connection was made, so nothing was sent." in printed

    def test_the_next_commits_leave_the_broker_alone_for_a_while(
        self, scheme: str, closed_port: int, tmp_path: Any
    ) -> None:
        printed = self.stack(scheme, closed_port, tmp_path).run(
            PUBLISH.format(port=closed_port) + "commit('a'); commit('b'); commit('c')"
        )

        first, *others = commits(printed)
        assert first["attempts"] >= 1
        assert [item["attempts"] for item in others] == [0, 0]
        assert [item["here"] for item in others] == [["b"], ["c"]]

    def test_a_slow_fallback_does_not_add_attempts_to_its_commit(
        self, scheme: str, closed_port: int, tmp_path: Any
    ) -> None:
        """Le délai du disjoncteur est déjà écoulé quand vient le deuxième événement."""
        printed = self.stack(scheme, closed_port, tmp_path).run(
            PUBLISH.format(port=closed_port)
            + """
from django.conf import settings
settings.EVENT_BUS = {"BREAKER_SECONDS": 0}
commit("a", "b", "c")
commit("d")
"""
        )

        first, second = commits(printed)
        assert first["here"] == ["a", "b", "c"]
        assert 1 <= first["attempts"] <= 2
        assert 1 <= second["attempts"] <= 2


REFUSALS = {
    "out of memory": ["--maxmemory", "1", "--maxmemory-policy", "noeviction"],
    "read only": ["--replicaof", "127.0.0.1", "1"],
    "no replica": ["--min-replicas-to-write", "1"],
    "no password": ["--requirepass", "secret"],
}


@contextlib.contextmanager
def redis_server(port: int, folder: Path, *options: str) -> Iterator[str]:
    """Un serveur Redis à soi, le temps du bloc."""
    program = shutil.which("redis-server") or missing("redis-server: install it")
    command = [program, "--port", str(port), "--save", "", "--dir", str(folder), *options]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(port), "a Redis of its own")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("options", REFUSALS.values(), ids=REFUSALS)
def test_a_redis_that_refuses_every_write_is_left_alone_for_a_while(
    options: list[str], closed_port: int, tmp_path: Path
) -> None:
    """La faute n’est à aucun message : le disjoncteur s’ouvre."""
    with redis_server(closed_port, tmp_path, *options) as url:
        stack = Stack("redis", f"sqlite:///{tmp_path / 'db.sqlite3'}", url, tmp_path)
        stack.migrate()
        printed = stack.run(PUBLISH.format(port=closed_port) + "commit('a', 'b'); commit('c')")

    first, second = commits(printed)
    assert first["here"] == ["a", "b"]
    assert second == {"attempts": 0, "here": ["c"]}
    assert printed.count("The broker failed on event") == 1
    assert "The broker refused" not in printed


@dataclass(frozen=True)
class Trap:
    """Une file où RabbitMQ refuse ce que l’on veut y mettre."""

    error: str
    arguments: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    known: bool = False
    """Celui qui publie la connaît : ce n’est pas d’elle que vient le refus, elle est pleine."""


TRAPS = {
    "other priorities": Trap("PRECONDITION_FAILED", {"x-max-priority": 5}),
    "another lifetime": Trap("PRECONDITION_FAILED", {"x-message-ttl": 60_000}),
    "transient": Trap("PRECONDITION_FAILED", options={"durable": False}),
    "locked": Trap("RESOURCE_LOCKED", options={"exclusive": True}),
    "full": Trap("MessageNacked", {"x-max-length": 1, "x-overflow": "reject-publish"}, known=True),
}

# One handler whose messages are refused, then one whose messages leave.
MISROUTED = """
from kombu import Queue
from conf.celery import app
from src.share_kernel.infrastructure import broker
from src.share_kernel.infrastructure.event_bus import publish_events, subscribe_async, unsubscribe
from tests.services.shop.handlers import mark
here = []
unsubscribe(Marked, mark)
subscribe_async(Marked, lambda event: here.append(event.label), name="misrouted", queue={queue!r})
subscribe_async(Marked, mark)
if {known}:
    app.amqp.queues.add(Queue({queue!r}, queue_arguments={arguments}))
"""


@pytest.mark.only_on("rabbitmq")
@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
class TestAMessageRefused:
    """Elle est à un message, et n’arrête que lui."""

    @pytest.fixture
    def queue(self, stack: Stack, trap: Trap) -> Iterator[str]:
        with Connection(stack.broker_url) as connection:
            queue = Queue(new_queue(), queue_arguments=trap.arguments, **trap.options)
            bound = queue.bind(connection.default_channel)
            bound.declare()
            connection.Producer().publish("the first", routing_key=queue.name, exchange="")
            yield queue.name
            bound.delete()

    def test_runs_here_and_the_others_leave(
        self, apart: Stack, trap: Trap, queue: str, label: str
    ) -> None:
        printed = apart.run(
            MISROUTED.format(queue=queue, known=trap.known, arguments=trap.arguments)
            + f"""
events = [Marked(label=f"{label}-{{number}}") for number in range(5)]
with transaction.atomic():
    publish_event(events[0])
    publish_event(events[1])
publish_event(events[2])
publish_events(events[3:])
print(here == [event.label for event in events], broker.breaker.tripped_at)
print(*[event.event_id for event in events])
"""
        )

        verdict, ids = printed.splitlines()[:2]
        assert verdict == "True -inf"
        for event_id in ids.split():
            refused = f"event shop.marked {event_id}, handler misrouted for queue '{queue}'"
            assert printed.count(f"ERROR share_kernel [-] The broker refused {refused}: ") == 1
        assert printed.count(trap.error) == 6  # one by one, after the batch of two
        assert "The broker failed" not in printed
        assert apart.queue_length() == 4  # three messages, and a batch of two
        assert apart.effects(label) == []

    def test_leaves_its_row_behind_the_others(
        self, durable: Stack, trap: Trap, queue: str, label: str
    ) -> None:
        mine = replace(durable, queue=new_queue())
        printed = mine.run(
            MISROUTED.format(queue=queue, known=trap.known, arguments=trap.arguments)
            + f"""
from datetime import timedelta
from django.db.models import F
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
Delivery.objects.all().delete()
for number in range(3):
    publish_event(Marked(label={label!r}))
for turn in range(3):
    Delivery.objects.update(send_after=F("send_after") - timedelta(days=1))
    print("turn", relay())
for row in Delivery.objects.filter(handler="misrouted"):
    print("row", row.state, row.attempts, row.sends, row.error)
print("healthy", set(Delivery.objects.exclude(handler="misrouted").values_list("state", "error")))
print(here, broker.breaker.tripped_at)
"""
        )

        lines = printed.splitlines()
        assert lines[:3] == ["turn 3"] * 3
        for line in lines[3:6]:
            assert line.startswith("row pending 0 4 not sent: ")
            assert trap.error in line
        assert lines[6:8] == ["healthy {('pending', '')}", "[] -inf"]
        assert printed.count("ERROR share_kernel [-] The broker refused event shop.marked") == 12
        assert mine.queue_length() == 12  # three at the commit, and three a turn
        mine.delete_queue()


class TestWarmConnection:
    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
    def test_closed_under_us_costs_one_retry_and_no_fallback(
        self, behind_proxy: Stack, proxy: Proxy, worker: Worker, label: str, *, reset: bool
    ) -> None:
        process = Interactive(behind_proxy)
        process.publish(f"{label}-1")
        before = proxy.accepted

        proxy.close_connections(reset=reset)
        process.publish(f"{label}-2")
        printed = process.end()

        assert before < proxy.accepted <= before + 2
        assert "The broker failed" not in printed
        for number in (1, 2):
            behind_proxy.until_effects(f"{label}-{number}", 1)

    def test_gone_for_good_falls_back(
        self, behind_proxy: Stack, proxy: Proxy, worker: Worker, label: str
    ) -> None:
        process = Interactive(behind_proxy)
        process.publish(f"{label}-1")

        proxy.stop()
        process.publish(f"{label}-2")
        printed = process.end()

        assert "The broker failed on event shop.marked" in printed
        assert behind_proxy.effects(f"{label}-2") == [f"mark {process.pid}"]

    def test_gone_silent_is_bounded_and_falls_back(
        self, behind_proxy: Stack, proxy: Proxy, worker: Worker, label: str
    ) -> None:
        process = Interactive(behind_proxy)
        process.publish(f"{label}-1")

        proxy.silent = True
        process.publish(f"{label}-2")
        printed = process.end()

        assert "The message may have arrived all the same" in printed
        assert f"mark {process.pid}" in behind_proxy.effects(f"{label}-2")


def test_a_broker_silent_from_the_start_is_bounded_and_falls_back(
    behind_proxy: Stack, proxy: Proxy, label: str
) -> None:
    proxy.silent = True
    process = Interactive(behind_proxy)

    process.publish(label)
    printed = process.end()

    assert "The broker failed on event shop.marked" in printed
    assert behind_proxy.effects(label) == [f"mark {process.pid}"]


class Interactive:
    """Un processus qui publie sur demande, pour casser le réseau entre deux publications."""

    def __init__(self, stack: Stack) -> None:
        self.process = stack.start(
            """
            import sys
            print("ready", flush=True)
            for line in sys.stdin:
                publish_event(Marked(label=line.strip()))
                print("published", flush=True)
            """
        )
        self.pid = self.process.pid
        self.printed = ""
        self._read_until("ready")

    def publish(self, label: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{label}\n")
        self.process.stdin.flush()
        self._read_until("published")

    def end(self) -> str:
        out, _ = self.process.communicate(timeout=patience())
        return self.printed + out

    def _read_until(self, word: str) -> None:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.printed += line
            if line.strip() == word:
                return
        pytest.fail(f"the process ended before {word!r}:\n{self.printed}")
