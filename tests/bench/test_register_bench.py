"""Le banc du registre tourne pour de vrai, en petit ; des comptes sont affirmés, aucun temps."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench.measuring import Row, rounded_down
from tests.bench.register.app.apps import _note_misses
from tests.bench.register.contestants import CONTESTANTS
from tests.bench.register.drains import pace
from tests.bench.register.latency import percentile

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "build" / "peers" / "bin" / "python"  # made by make bench-register
CHOSEN = ["relay", "relay-2", "celery", "procrastinate", "tasks-db", "domain-events"]
JOBS, ROWS = 40, 3000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Un tour de mesure."""
    results = tmp_path_factory.mktemp("bench") / "bench-register.json"
    env = {"JOBS": str(JOBS), "ROUNDS": "1", "ROWS": str(ROWS), "CONTESTANTS": ",".join(CHOSEN)}
    done = subprocess.run(
        [str(PEERS if PEERS.exists() else sys.executable), "-m", "tests.bench.register"],
        cwd=ROOT, env=os.environ | env | {"BENCH_RESULTS": str(results)}, capture_output=True,
        text=True, check=False, timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    if not results.exists():
        pytest.skip(done.stdout)  # without PostgreSQL's server; REQUIRE_ALL makes it a failure
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return found | {
        "said": done.stdout,
        "by_key": {one["key"]: one for one in found["contestants"]},
    }


def test_everybody_is_measured_or_said_to_be_absent(run: dict[str, Any]) -> None:
    absent = [one.key for one in CONTESTANTS if f"not installed: {one.package}\n" in run["said"]]

    assert list(run["by_key"]) == [key for key in CHOSEN if key not in absent]
    if os.environ.get("REQUIRE_ALL") == "1":
        assert not absent


def test_what_each_job_asks_of_the_server_is_counted(run: dict[str, Any]) -> None:
    for key, one in run["by_key"].items():
        least = min(one["statements"], one["commits"], one["fsyncs"])
        assert least >= (0.9 if key != "relay-2" else 0.5), one  # a lot may share a commit
        assert one["wal"] > 100, one
        assert one["speed"] > 0
        assert one["publishing"] > 0


def test_the_counts_are_those_that_were_read_in_the_sources(run: dict[str, Any]) -> None:
    """Une tâche Celery : une insertion, qui est sa propre transaction."""
    celery = run["by_key"]["celery"]

    # A handful more when a worker connects late: forty jobs are few.
    assert celery["commits"] == pytest.approx(1, abs=0.4)
    assert celery["statements"] == pytest.approx(1, abs=0.4)
    assert celery["published_wal"] == 0
    assert run["by_key"]["relay"]["published_statements"] < 0.5  # one insertion for a lot


def test_one_relay_alone_never_claims_in_vain(run: dict[str, Any]) -> None:
    assert run["by_key"]["relay"]["misses"] == 0
    assert run["by_key"]["celery"]["misses"] is None


def test_a_wait_is_measured_where_there_is_one(run: dict[str, Any]) -> None:
    for one in run["by_key"].values():
        assert ("p50_ms" in one) == (one["key"] != "relay-2")
        if "p50_ms" in one:
            assert 0 < one["p50_ms"] <= one["p99_ms"]


def test_the_register_is_read_at_three_sizes(run: dict[str, Any]) -> None:
    assert run["sizes"] == [0, ROWS // 10, ROWS]
    for operation in run["growth"]:
        assert len(operation["costs"]) == 3
        assert min(operation["costs"]) > 0


def test_every_target_that_can_be_judged_is(run: dict[str, Any]) -> None:
    keys = [row["key"] for row in run["groups"]["register"]]
    expected = ["speed-two-relays", "commits", "statements", "statistics", "grown-relay",
                "grown-status", "grown-admin", "grown-enrol"]  # fmt: skip
    if "procrastinate" in run["by_key"]:
        expected = ["speed-relay", expected[0], "wait", *expected[1:]]

    assert keys == expected


def test_a_verdict_is_what_the_ratio_and_its_target_say(run: dict[str, Any]) -> None:
    for row in run["groups"]["register"]:
        met = row["ratio"] >= row["target"] if row["at_least"] else row["ratio"] <= row["target"]
        assert row["verdict"] == ("met" if met else "missed")


@pytest.mark.parametrize(("ratio", "verdict"), [(1.79, "missed"), (1.8, "met"), (2.0, "met")])
def test_a_floor_is_met_from_above(ratio: float, verdict: str) -> None:
    assert Row("key", "two", "one", ratio, ratio, 1.8, at_least=True).verdict == verdict


@pytest.mark.parametrize(("ratio", "kept"), [(1.7999, 1.79), (1.8, 1.8), (0.0, 0.0), (15.87, 15.8)])
def test_what_must_be_reached_never_looks_better_than_it_is(ratio: float, kept: float) -> None:
    assert rounded_down(ratio) == kept


def test_the_pace_leaves_out_a_slow_start_and_a_slow_end() -> None:
    steady = [float(number) for number in range(100)]

    assert pace(steady) == 1
    assert pace([-500.0, *steady[1:-1], 500.0]) == 1


def test_a_percentile_is_one_of_the_times() -> None:
    times = [1.0, 2.0, 3.0, 4.0, 5.0]

    assert percentile(times, 0.5) == 3
    assert percentile(times, 0.99) == 5


@pytest.mark.parametrize(
    ("sql", "rows", "noted"),
    [
        ("SELECT id FROM delivery LIMIT 1 FOR UPDATE SKIP LOCKED", 0, 1),
        ("SELECT id FROM delivery LIMIT 1 FOR UPDATE SKIP LOCKED", 1, 0),
        ("UPDATE delivery SET attempts = 1", 0, 1),
        ("SELECT id FROM delivery", 0, 0),
    ],
)
def test_a_claim_that_finds_nothing_is_noted(
    sql: str, rows: int, noted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "misses.txt"
    file.touch()
    monkeypatch.setenv("BENCH_MISSES", str(file))
    context = {"cursor": SimpleNamespace(rowcount=rows)}

    assert _note_misses(lambda *_: "result", sql, (), False, context) == "result"

    assert len(file.read_text().splitlines()) == noted
