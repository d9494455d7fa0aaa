"""Le relais que PostgreSQL réveille, et les processus que lance une seule commande."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from .stack import Stack, eventually, patience

COMMAND = """
    from django.core.management import call_command
    from src.share_kernel.infrastructure.outbox.management.commands import relay_events
    relay_events.IDLE, relay_events.BROKEN = {idle}, 0.1
    call_command("relay_events", "--execute", {options})
    """
AN_HOUR = 3600
LISTENING = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname = current_database()"
)
TRIED_AGAIN = "SELECT count(*) FROM share_kernel_outbox_delivery WHERE attempts <> 1"


@pytest.fixture
def quiet(durable: Stack) -> Stack:
    """La pile sans broker, son registre vide."""
    stack = replace(durable, broker_url="")
    stack.run(
        "from src.share_kernel.infrastructure.outbox.models import Delivery;"
        "Delivery.objects.all().delete()"
    )
    return stack


@pytest.fixture
def label() -> str:
    return uuid.uuid4().hex[:12]


@contextmanager
def relaying(stack: Stack, *, idle: float, options: str = "") -> Iterator[subprocess.Popen[str]]:
    process = stack.start(COMMAND.format(idle=idle, options=options))
    assert process.stdout is not None
    assert "Relaying" in process.stdout.readline()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=patience())


def publish(stack: Stack, label: str, count: int = 1) -> None:
    stack.run(f"for number in range({count}): publish_event(Marked(label={label!r}))")


def children(process: subprocess.Popen[str]) -> set[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {int(pid) for pid in done.stdout.split()}


@pytest.mark.only_on("postgresql")
class TestNotified:
    def test_a_relay_that_would_sleep_an_hour_delivers_at_once(
        self, quiet: Stack, label: str
    ) -> None:
        with relaying(quiet, idle=AN_HOUR) as process:
            eventually(lambda: quiet.query(LISTENING), "the relay listens")
            publish(quiet, label)
            quiet.until_effects(label, 1)

            process.send_signal(signal.SIGTERM)
            publish(quiet, label)  # or it would end in an hour

    def test_the_last_of_a_burst_is_announced(self, quiet: Stack, label: str) -> None:
        """Cinquante commits dans un même intervalle : le dernier n’est pas oublié."""
        with relaying(quiet, idle=AN_HOUR) as process:
            eventually(lambda: quiet.query(LISTENING), "the relay listens")
            for name in (f"{label}-1", f"{label}-2"):
                quiet.run(
                    f"""
                    import threading
                    for number in range(50):
                        publish_event(Marked(label={name!r}))
                    for thread in threading.enumerate():
                        if isinstance(thread, threading.Timer):
                            thread.join()
                    """
                )
                quiet.until_effects(name, 50)
            process.send_signal(signal.SIGTERM)
            publish(quiet, label)

    def test_a_session_that_the_server_ends_is_opened_again(self, quiet: Stack, label: str) -> None:
        with relaying(quiet, idle=0.2):
            (former,) = eventually(lambda: quiet.query(LISTENING), "the relay listens")
            quiet.query(f"SELECT pg_terminate_backend({former[0]})")
            eventually(lambda: set(quiet.query(LISTENING)) - {former}, "it listens again")
            publish(quiet, label)
            quiet.until_effects(label, 1)

    def test_a_rolled_back_event_wakes_nobody(self, quiet: Stack, label: str) -> None:
        printed = quiet.run(
            f"""
            from src.share_kernel.infrastructure.outbox import enrolment
            enrolment.notify = lambda using: print("notified", using)
            try:
                with transaction.atomic():
                    publish_event(Marked(label={label!r}))
                    raise ValueError
            except ValueError:
                pass
            with transaction.atomic():
                publish_event(Marked(label={label!r}))
                print("before the commit")
            """
        )

        assert printed == "before the commit\nnotified default\n"


class TestWorkers:
    @pytest.mark.parametrize("once", ["", "'--once'"])
    def test_share_the_work_and_end_together(self, quiet: Stack, label: str, once: str) -> None:
        publish(quiet, label, 300)
        with relaying(quiet, idle=0.2, options=f"'--workers', '2', {once}") as process:
            effects = quiet.until_effects(label, 300)
            running = children(process)
            if not once:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=patience())
            assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]

        assert process.returncode == 0
        assert len(effects) == 300
        assert quiet.query(TRIED_AGAIN) == [(0,)]

    def test_none_outlives_the_command_that_started_it(self, quiet: Stack) -> None:
        with relaying(quiet, idle=0.2, options="'--workers', '2'") as process:
            running = eventually(lambda: len(children(process)) == 2 and children(process), "two")
            process.kill()
            process.wait(timeout=patience())
            eventually(
                lambda: not [pid for pid in running if Path(f"/proc/{pid}").exists()],
                "the end of both",
                patience(20),
            )

    def test_one_that_is_killed_is_replaced(self, quiet: Stack, label: str) -> None:
        with relaying(quiet, idle=0.2, options="'--workers', '2'") as process:
            before = eventually(lambda: len(children(process)) == 2 and children(process), "two")
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: len(children(process) - before) == 2, "two other processes")
            publish(quiet, label)
            quiet.until_effects(label, 1)
