"""Le banc tourne et mesure chacun ; aucun temps n’est affirmé."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import publishing
from tests.bench.measuring import rounded_up

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Un tour de mesure, sans Redis."""
    results = tmp_path_factory.mktemp("bench") / "bench.json"
    env = {"BENCH_ROUNDS": "1", "BENCH_RESULTS": str(results), "REDIS_URL": "redis://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench"],
        cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "Skipped, no Redis at 127.0.0.1:1" in done.stdout
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return found


def test_each_peer_is_measured_at_each_number_of_handlers(run: dict[str, Any]) -> None:
    keys = [row["key"] for row in run["groups"]["publish"]]

    peers = ["publish", "pyee", "cached", "signal", "robust", "blinker"]
    assert keys == [f"{name}-{count}" for count in (0, 1, 10, 100) for name in peers]


def test_the_other_measures_are_there(run: dict[str, Any]) -> None:
    groups = {name: [row["key"] for row in rows] for name, rows in run["groups"].items()}

    assert groups["build"] == ["build"]
    assert groups["convert"] == ["to-dict", "asdict", "from-dict", "dacite"]
    assert groups["send"] == ["before-broker", "one-task"]
    assert groups["redis"] == []


def test_a_verdict_is_what_the_ratio_and_its_target_say(run: dict[str, Any]) -> None:
    for row in (row for rows in run["groups"].values() for row in rows):
        is_met = row["target"] is not None and row["ratio"] <= row["target"]
        assert row["ratio"] > 0
        assert row["verdict"] == ("" if row["target"] is None else "met" if is_met else "missed")


def test_the_run_says_what_was_measured(run: dict[str, Any]) -> None:
    assert run["rounds"] == 1
    assert run["python"] == platform.python_version()
    assert {"blinker", "celery", "dacite", "django", "msgspec", "pyee"} <= run["versions"].keys()


@pytest.mark.parametrize("name", publishing.NAMES)
def test_each_peer_really_calls_its_handlers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def recording() -> Any:
        number = len(numbers)
        numbers.append(number)
        return lambda *args, **named: called.append(number)

    numbers: list[int] = []
    monkeypatch.setattr(publishing, "make_handler", recording)
    monkeypatch.setattr(publishing, "_make_receiver", recording)

    publishing._publishers(3)[name]()

    assert len(set(called)) == len(called) == 3


@pytest.mark.parametrize(
    ("ratio", "kept"),
    [(1.1501, 1.16), (1.15, 1.15), (15.81, 15.9), (0.03172, 0.0318), (0.28, 0.28), (100.2, 101)],
)
def test_a_ratio_keeps_three_digits_and_never_looks_better_than_it_is(
    ratio: float, kept: float
) -> None:
    assert rounded_up(ratio) == kept
