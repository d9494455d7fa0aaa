"""``make demo DEMO=--faults`` : ce que la page d’accueil dessine arrive vraiment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conf.demo.journal import Line
from conf.demo.record import scenes
from tests.docs.pages import DOCS, ROOT
from tests.services.conftest import missing

from .test_demo import SLOW, environment, is_alive, pids, told

Scenes = dict[str, list[dict[str, Any]]]
RECORDED = json.loads((DOCS / "_data" / "demo.json").read_text(encoding="utf-8"))
NAMES = ["commit", "rollback", "worker", "broker"]


def play(folder: Path, **env: str) -> tuple[str, Scenes]:
    """Joue les pannes ; renvoie ce qui s’affiche et ce qui s’enregistre."""
    record = folder / "record.json"
    done = subprocess.run(
        [sys.executable, "-m", "conf.demo", "--faults", "--record", str(record)],
        cwd=ROOT,
        env=environment(folder) | env,
        capture_output=True,
        text=True,
        timeout=SLOW,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    run = json.loads(record.read_text(encoding="utf-8"))
    record.unlink()
    return done.stdout, {scene["scene"]: scene["events"] for scene in run["scenes"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def played(folder: Path) -> tuple[str, Scenes]:
    return play(folder)


def without_times(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != "at"} for event in events]


@pytest.mark.parametrize("name", NAMES)
def test_what_happens_is_what_was_recorded(played: tuple[str, Scenes], name: str) -> None:
    _, found = played
    if name not in found:
        missing("redis-server: install it")
    (recorded,) = (scene for scene in RECORDED["scenes"] if scene["scene"] == name)

    assert without_times(found[name]) == without_times(recorded["events"])


def test_the_handler_starts_again_in_another_process(played: tuple[str, Scenes]) -> None:
    worker = [event for event in played[1]["worker"] if event["process"] == "worker"]

    assert [event["life"] for event in worker] == [1, 1, 2, 2]
    assert worker[-1]["at"] - worker[1]["at"] > 20_000  # the reservation of the dead one


def test_nothing_is_left_behind(played: tuple[str, Scenes], folder: Path) -> None:
    assert told(played[0])
    assert not any(map(is_alive, pids(played[0])))
    assert list(folder.iterdir()) == []


def test_without_redis_its_scene_is_skipped_and_it_says_so(tmp_path: Path) -> None:
    # The other scenes are long and already played: only what would start Redis is asked.
    code = (
        "import conf.demo.faults as f\n"
        "class Stage:\n"
        "    def __getattr__(self, name): return lambda *a, **k: None\n"
        "opened = Stage(); opened.journal = opened\n"
        "f.play(opened)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert shutil.which("redis-server", path=str(tmp_path)) is None
    assert "redis-server is not installed: the scene of the broker is skipped." in done.stdout


def test_a_scene_is_told_in_the_order_of_time_and_from_its_first_line() -> None:
    """Un processus écrit parfois après coup ce qui a précédé."""
    told = [
        Line(9.0, "web", 1, "step", "A worker is killed in the middle of a handler."),
        Line(10.5, "worker", 3, "after commit", "b done"),
        Line(10.0, "worker", 2, "after commit", "a done"),
    ]

    ((first, second),) = (scene["events"] for scene in scenes(told))

    assert (first["what"], first["at"], first["life"]) == ("a done", 0, 1)
    assert (second["what"], second["at"], second["life"]) == ("b done", 500, 2)
