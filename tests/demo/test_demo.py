"""La démonstration, telle qu’un nouveau venu la lance."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kombu import Connection
from redis import Redis

from conf.demo.patience import Patience
from conf.demo.stage import DemoError, Stage
from tests.services.conftest import service
from tests.services.stack import ROOT, eventually

LINE = re.compile(r" *([\d.]+) s  (\w+) +(\d+) +(before commit|COMMIT|after commit|ROLLBACK) +(.+)")
SYNC = "accounting.record_ledger_entry done, in the same transaction"


class Told(NamedTuple):
    at: float
    process: str
    pid: int
    when: str
    what: str


SLOW = 300.0  # seconds, for a machine that has other things to do
QUEUE = f"demo-{uuid.uuid4().hex[:12]}"


def environment(folder: Path, broker_url: str = "") -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "BROKER_URL": broker_url, "DEMO_QUEUE": QUEUE}


def run(folder: Path, broker_url: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "conf.demo"],
        cwd=ROOT,
        env=environment(folder, broker_url),
        capture_output=True,
        text=True,
        timeout=SLOW,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def told(output: str) -> list[Told]:
    found = [match.groups() for line in output.splitlines() if (match := LINE.fullmatch(line))]
    return [Told(float(at), name, int(pid), when, what) for at, name, pid, when, what in found]


def steps(output: str) -> list[list[Told]]:
    return [told(part) for part in re.split(r"^\d\. ", output, flags=re.MULTILINE)[1:]]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(output: str) -> set[int]:
    return {
        int(pid) for pid in re.findall(r"^  (?:web|relay|worker) +(\d+) ", output, re.MULTILINE)
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    return run(folder)


def test_sync_handlers_run_before_the_commit_and_async_ones_after(output: str) -> None:
    tenant, invoice, _, again = steps(output)

    assert [line.when for line in tenant] == ["before commit", "COMMIT", "after commit"]
    for step in (invoice, again):
        before, commit, after = (
            [number for number, line in enumerate(step) if line.when == when]
            for when in ("before commit", "COMMIT", "after commit")
        )
        assert max(before) < min(commit) <= max(commit) < min(after)
        assert step[before[-1]].what == SYNC


def test_each_process_does_its_part(output: str) -> None:
    lines = told(output)
    web = {line.pid for line in lines if line.process == "web"}
    relay = {line.pid for line in lines if line.process == "relay"}

    assert {line.process for line in lines if line.when != "after commit"} == {"web"}
    assert {line.process for line in lines if line.when == "after commit"} == {"relay"}
    assert len(web) == len(relay) == 1
    assert web | relay == pids(output)


def test_a_handler_fails_twice_and_is_retried_alone(output: str) -> None:
    after = [line for line in steps(output)[1] if line.when == "after commit"]

    assert sorted(line.what.split(";")[0] for line in after) == [
        "demo.print_invoice FAILED, attempt 1: no paper for F-1",
        "demo.print_invoice FAILED, attempt 2: no paper for F-1",
        "demo.print_invoice done, attempt 3",
        "notification.notify_customer done",
    ]
    printing = [line for line in after if "print_invoice" in line.what]
    assert printing[1].at - printing[0].at >= 0.45
    assert printing[2].at - printing[1].at >= 0.45


def test_a_rollback_announces_nothing(output: str) -> None:
    rolled_back = steps(output)[2]

    assert [line.when for line in rolled_back] == ["before commit", "before commit", "ROLLBACK"]
    assert rolled_back[1].what == SYNC
    assert rolled_back[2].what.startswith("ledger entries: 0, deliveries: 0")


def test_it_ends_with_the_register(output: str) -> None:
    rows = re.findall(r"^(\w+) +([\w.]+) +(\d+) +\d+ s$", output, re.MULTILINE)

    assert rows == [
        ("done", "conf.demo.handlers.print_invoice", "2"),
        ("done", "src.module.notification.handlers.announce_tenant", "1"),
        ("done", "src.module.notification.handlers.notify_customer", "2"),
    ]


def test_what_to_read_on_exists(output: str) -> None:
    for path in re.findall(r"^  ((?:conf|docs)/\S+)", output, re.MULTILINE):
        assert (ROOT / path).exists(), path


def test_it_is_plain_text_and_short(output: str) -> None:
    assert "\033" not in output
    assert max(map(len, output.splitlines())) <= 120
    assert len(output.splitlines()) <= 50


def test_nothing_is_left_behind(output: str, folder: Path) -> None:
    assert len(pids(output)) == 2
    assert not any(map(is_alive, pids(output)))
    assert list(folder.iterdir()) == []


@pytest.fixture
def playing(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with (tmp_path / "printed.txt").open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "conf.demo"],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=printed,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(
    playing: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    printed = tmp_path / "printed.txt"
    eventually(lambda: "FAILED, attempt 1" in printed.read_text(), "the first failure", SLOW)

    playing.send_signal(number)

    assert playing.wait(timeout=SLOW) == 130
    assert "Traceback" not in printed.read_text()
    assert len(pids(printed.read_text())) == 2
    assert not any(map(is_alive, pids(printed.read_text())))
    assert list(tmp_path.iterdir()) == [printed]


def test_a_process_that_dies_ends_it(playing: subprocess.Popen[str], tmp_path: Path) -> None:
    printed = tmp_path / "printed.txt"
    eventually(lambda: "FAILED, attempt 1" in printed.read_text(), "the first failure", SLOW)
    (relay,) = {line.pid for line in told(printed.read_text()) if line.process == "relay"}

    os.kill(relay, signal.SIGKILL)

    assert playing.wait(timeout=SLOW) == 1
    assert "The process 'relay' has stopped." in printed.read_text()
    assert not any(map(is_alive, pids(printed.read_text())))
    assert list(tmp_path.iterdir()) == [printed]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path, broker_url="", queue=QUEUE, patience=3)
    opened.journal.touch()
    yield opened
    opened.stop()


def web(stage: Stage, script: str) -> None:
    stage.start("web", ["sh", "-c", f"cd {stage.folder}\n{script}"])


TELL = """printf '[0, "web", 1, "COMMIT", "%s"]\\n' {what} >> journal.jsonl"""


def test_a_slow_demo_goes_on_as_long_as_it_tells_something(stage: Stage) -> None:
    web(stage, f"for n in 1 2 3 4 5; do sleep 1; {TELL.format(what='$n')}; done")

    stage.follow()

    assert stage.shown == 5


@pytest.mark.parametrize(
    "script", ["exec sleep 20", f"for n in $(seq 40); do sleep 0.5; {TELL.format(what='x')}; done"]
)
def test_a_demo_where_nothing_new_happens_ends_and_says_so(stage: Stage, script: str) -> None:
    web(stage, f"echo stuck on a lock\n{script}")

    with pytest.raises(
        DemoError, match=r"^Nothing has happened for 3 s\.\n--- web\nstuck on a lock"
    ):
        stage.follow()


def test_a_command_that_hangs_ends_the_demo_too(stage: Stage) -> None:
    with contextlib.closing(sqlite3.connect(stage.folder / "db.sqlite3")) as holder:
        holder.execute("BEGIN EXCLUSIVE")

        with pytest.raises(DemoError, match=r"^Nothing has happened for 3 s\.\n--- migrate\n"):
            stage.manage("migrate")


class TestPatience:
    """Le temps est donné, pour ne pas l’attendre."""

    def asked(self, *looks: tuple[float, int]) -> list[bool]:
        now = 0.0
        patience = Patience(10, clock=lambda: now)
        answers = []
        for now, progress in looks:  # noqa: B007
            answers.append(patience.is_over(progress))
        return answers

    def test_it_is_over_when_nothing_moves(self) -> None:
        assert self.asked((1, 0), (11, 0), (11.1, 0)) == [False, False, True]

    def test_each_progress_gives_the_whole_time_again(self) -> None:
        assert self.asked((9, 1), (18, 2), (27, 3), (37.1, 3)) == [False, False, False, True]

    def test_what_comes_and_goes_is_no_progress(self) -> None:
        assert self.asked((1, 5), (6, 4), (9, 5), (11.1, 5)) == [False, False, False, True]


def test_a_broker_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "conf.demo"],
        cwd=ROOT,
        env=environment(tmp_path, "redis://:secret@127.0.0.1:1/0"),
        capture_output=True,
        text=True,
        timeout=SLOW,
        check=False,
    )

    assert done.returncode == 1
    assert "No broker answers at redis://:**@127.0.0.1:1/0 (BROKER_URL)" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def exists_in(broker_url: str, queue: str) -> bool:
    if broker_url.startswith("redis"):
        with Redis.from_url(broker_url) as redis:
            return bool(redis.keys(f"*{queue}*"))
    with Connection(broker_url) as connection:
        channel: Any = connection.default_channel
        try:
            channel.queue_declare(queue, passive=True)
        except connection.channel_errors:
            return False
    return True


@pytest.mark.parametrize("variable", ["REDIS_URL", "RABBITMQ_URL"])
def test_with_a_broker_a_worker_runs_the_async_handlers(variable: str, tmp_path: Path) -> None:
    broker_url = service(variable)

    output = run(tmp_path, broker_url)

    after = [line for line in steps(output)[1] if line.when == "after commit"]
    assert [line.process for line in after if "print_invoice" in line.what] == ["worker"] * 3
    # Told once it is sent: the worker may have ended the demo before the last one is told.
    assert {line.what for line in after if line.process == "relay"} == {
        "a delivery is due: the relay wakes the worker"
    }
    assert len(pids(output)) == 3
    assert not any(map(is_alive, pids(output)))
    assert list(tmp_path.iterdir()) == []
    assert not exists_in(broker_url, QUEUE)
