"""Un broker qui refuse, se tait, coupe : la demande survit, et le travail a lieu."""

import json
import socket
import uuid
from typing import Any

import pytest

from .proxy import Proxy
from .stack import Stack, Worker, patience

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
