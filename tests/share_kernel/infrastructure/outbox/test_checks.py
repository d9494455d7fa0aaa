"""Ce que `manage.py check` demande à SQLite quand le registre est là."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connections

from src.share_kernel.infrastructure.outbox import checks  # noqa: F401  (importing registers them)

SAFE = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL;",
    "timeout": 20,
}


def warnings(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **more: str) -> list[str]:
    database = {**connections.settings["default"], "OPTIONS": options, **more}
    monkeypatch.setitem(connections.settings, "default", database)
    found = run_checks(tags=["share_kernel"])
    return [item.msg for item in found if item.id == "share_kernel.W003"]


@pytest.mark.parametrize("name", SAFE)
def test_each_missing_option_is_named_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {key: value for key, value in SAFE.items() if key != name}
    if name == "timeout":
        options["timeout"] = 4.9

    (message,) = warnings(options, monkeypatch)

    assert f"'{name}'" in message
    assert [other for other in SAFE if other in message] == [name]
    assert "The SQLite database 'default'" in message


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = warnings({"timeout": 1}, monkeypatch)

    assert all(name in message for name in SAFE)


@pytest.mark.parametrize("timeout", [5, 20])
def test_enough_is_enough(timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings(SAFE | {"timeout": timeout}, monkeypatch) == []


def test_another_database_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings({}, monkeypatch, ENGINE="django.db.backends.postgresql") == []
