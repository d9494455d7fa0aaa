"""Ce qui s’exécute dans les pages : quels blocs, et un moteur entier ou pas de moteur."""

import importlib
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.services.conftest import missing

from .pages import DOCS, SITE

sys.path.insert(0, str(DOCS / "_ext"))
engine: Any = importlib.import_module("engine")
live_among: Any = importlib.import_module("live").live_among


@pytest.mark.parametrize(
    ("codes", "live"),
    [
        (["print(1)"], [True]),
        (["import json\nfrom django.db import transaction"], [True]),
        (["import pytest"], [False]),
        (["from celery import shared_task"], [False]),
        (["def late():\n    import pytest"], [False]),
        (
            ["from .celery import app"],
            [True],
        ),  # of a package that the page does not have: it says so
        (["match: = 3"], [False]),
        # A block needs what a block above defines.
        (["import pytest\nrule = 3", "print(rule)"], [False, False]),
        (["import pytest\ndef rule(): ...", "rule()", "print(2)"], [False, False, True]),
        (["import pytest\nrule = 3", "rule = 4\nprint(rule)", "print(rule)"], [False, True, True]),
    ],
)
def test_a_block_is_live_when_the_engine_holds_what_it_imports(
    codes: list[str], live: list[bool]
) -> None:
    assert live_among(codes) == live


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Un dossier sans moteur, à la place de celui du site."""
    monkeypatch.setattr(engine, "ENGINE", tmp_path / "engine")
    monkeypatch.setattr(engine, "MANIFEST", tmp_path / "engine" / "manifest.json")
    return tmp_path


@pytest.fixture
def _npm() -> None:
    """``npm``, de la machine ou d’une roue : de quoi commencer à faire un moteur."""
    try:
        engine.find_tools()
    except engine.EngineError as error:
        missing(f"npm: {error}")


@pytest.mark.usefixtures("_npm")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SHA512", "none", "came with the sha512 "),
        ("PYODIDE", "0.0.0", "fetching Pyodide failed ("),
        ("PLATFORM", "nowhere", "fetching the wheels of msgspec and tzdata failed ("),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_half_made(
    empty: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setattr(engine, name, value)

    said = engine.prepare()

    assert words in said
    assert said.endswith(f"{engine.STATIC}.")
    assert not list(empty.rglob("*.bin"))
    assert not (empty / "engine" / "manifest.json").exists()


@pytest.mark.usefixtures("_npm")
def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = empty / "wheels.txt"
    pins.write_text(engine.WHEELS.read_text("utf-8").replace("sha256:", "sha256:00"), "utf-8")
    monkeypatch.setattr(engine, "WHEELS", pins)

    assert "fetching the wheels" in engine.prepare()


def test_no_npm_and_no_network(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "NODE", empty / "node")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))

    assert "no npm, and its wheel failed" in engine.prepare()
    assert not (empty / "node").exists()


def test_a_disk_that_refuses(empty: Path) -> None:
    (empty / "engine").write_text("a file where a folder should be")

    assert engine.STATIC in engine.prepare()


@pytest.fixture
def manifest() -> Any:
    path = SITE / "engine" / "manifest.json"
    if not path.exists():
        missing("the engine of the pages: `make site` says why it could not be made")
    return json.loads(path.read_text("utf-8"))


def test_the_first_press_weighs_what_it_says(manifest: Any) -> None:
    folder = SITE / "engine" / manifest["version"]
    sizes = [
        path.stat().st_size
        for path in (*folder.glob("*.bin"), SITE / "engine" / manifest["project"])
    ]

    assert manifest["total"] == sum(sizes)
    assert sum(sizes) + 300_000 <= 8_000_000  # with its scripts, compressed


def test_the_database_of_the_pages_is_migrated() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(engine.migrated())
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}

    assert {"share_kernel_outbox_delivery", "invoicing_invoice"} <= tables
