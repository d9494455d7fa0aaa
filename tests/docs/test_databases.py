"""La page des bases de données dit ce que demandent Django, ce projet et ses réglages."""

import re
import runpy
import tomllib
from typing import Any

import pytest
from django.db import connections

from tests.services.conftest import mariadb_service
from tests.services.databases import alias

from .pages import DOCS, ROOT, fenced

TEXT = (DOCS / "reference/bases-de-donnees.md").read_text(encoding="utf-8")
URLS = {
    "PostgreSQL": "postgresql://nowhere/shop",
    "MariaDB": "mysql://nowhere/shop",
    "SQLite": "sqlite:///nowhere",
}


def version(pattern: str) -> tuple[int, ...]:
    (found,) = re.findall(pattern, TEXT, re.MULTILINE)
    return tuple(int(number) for number in found.split("."))


def asked_by_django(name: str) -> tuple[int, ...]:
    """Renvoie la version que demande ce Django-ci, sans ouvrir de connexion."""
    if name == "MariaDB":
        mariadb_service()  # its driver must be there
    with alias("asked", URLS[name]):
        connection = connections["asked"]
        vars(connection)["mysql_is_mariadb"] = True
        found = connection.features.minimum_database_version
    assert found
    return tuple(found)


@pytest.mark.parametrize("name", URLS)
def test_no_version_is_older_than_what_django_asks(name: str) -> None:
    oldest = version(rf"^\| {name} \| (\d+(?:\.\d+)*) ou plus")
    newest_django = version(rf"^Django 6\.1 demande davantage.*{name} (\d+(?:\.\d+)*)")

    assert oldest < newest_django
    assert asked_by_django(name) <= oldest or asked_by_django(name) == newest_django


def test_the_driver_is_that_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    (driver,) = project["optional-dependencies"]["mariadb"]
    name, least = driver.split(">=")
    assert f"| `{name}` {least} ou plus |" in TEXT


@pytest.mark.parametrize(
    ("name", "key"), [("SQLite", "DATABASES"), ("MariaDB", "SILENCED_SYSTEM_CHECKS")]
)
def test_the_settings_are_those_of_the_reference_project(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", URLS[name])
    reference = runpy.run_path(str(ROOT / "conf/settings.py"))
    shown: dict[str, Any] = {}
    (block,) = fenced(TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0], "python")
    exec(block, shown)

    if key == "DATABASES":
        shown, reference = shown[key]["default"], reference[key]["default"]
        key = "OPTIONS"
    assert shown[key] == reference[key]
