"""*Dans votre CI* : les outils d’un lecteur, sur un projet qui a copié le dossier."""

import tomllib

import pytest

from .new_project import NewProject
from .pages import DOCS, fenced

PAGE = (DOCS / "guides" / "dans-votre-ci.md").read_text("utf-8")
TOML = "\n".join(fenced(PAGE, "toml"))
(CONFTEST,) = fenced(PAGE, "python")
EVENT = """\
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from src.share_kernel.domain.domain_event import DomainEvent, register_event


@register_event
@dataclass(frozen=True)
class Sold(DomainEvent):
    event_type = "shop.sold"
    at: datetime
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> NewProject:
    project = NewProject(tmp_path_factory.mktemp("ci"))
    project.sh("python share_kernel.zip src/share_kernel")
    project.add_settings("INSTALLED_APPS += ['src.share_kernel', 'shop']")
    project.write("shop/__init__.py", "")
    project.write("shop/events.py", EVENT)
    return project


EVERY_RULE = """
[tool.ruff]
preview = true
target-version = "py314"

[tool.ruff.lint]
select = ["ALL"]
"""


def test_ruff_leaves_the_folder_alone_with_every_rule(project: NewProject) -> None:
    project.write("pyproject.toml", EVERY_RULE)
    assert "events.py" in project.sh("ruff check . || true")  # the reader’s own code is checked
    for files in ("src/share_kernel", "$(find src/share_kernel -name '*.py')"):  # as a hook does
        project.sh(f"ruff check --unsafe-fixes --fix --exit-non-zero-on-fix {files}")
        project.sh(f"ruff format --check {files}")


def test_ruff_leaves_the_types_of_an_event_where_they_are_read(project: NewProject) -> None:
    fix = "ruff check --no-cache --select TC --unsafe-fixes --fix --target-version py314 shop"
    project.write("pyproject.toml", "")
    project.sh(f"{fix} || true")
    assert "TYPE_CHECKING" in (project.folder / "shop/events.py").read_text()  # the trap is real

    project.write("shop/events.py", EVENT)
    project.write("pyproject.toml", TOML)
    project.sh(fix)
    assert (project.folder / "shop/events.py").read_text() == EVENT


def test_isort_and_black_say_that_nothing_is_to_do(project: NewProject) -> None:
    project.sh("isort --check src/share_kernel")
    project.sh("black --quiet --check src/share_kernel")


def test_codespell_and_coverage_skip_the_folder(project: NewProject) -> None:
    project.write("pyproject.toml", TOML)
    project.sh("codespell src shop")
    (omitted,) = tomllib.loads(TOML)["tool"]["coverage"]["run"]["omit"]
    project.write("runs.py", "import shop.events")
    project.sh("coverage run --source src,shop runs.py")
    reported = project.sh("coverage report")
    assert "shop/events.py" in reported
    assert "share_kernel" not in reported, omitted


def test_the_plugin_of_pytest_is_declared_at_the_root(project: NewProject) -> None:
    project.write("conftest.py", CONFTEST)
    project.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = myproject.settings\n")
    project.write(
        "shop/test_it.py",
        "import pytest\n"
        "from datetime import datetime, UTC\n"
        "from shop.events import Sold\n"
        "from src.share_kernel.infrastructure.event_bus import publish_event\n"
        "@pytest.mark.django_db\n"
        "@pytest.mark.parametrize('number', range(4))\n"
        "def test_it(record_events, number):\n"
        "    publish_event(Sold(at=datetime.now(UTC)))\n"
        "    assert len(record_events) == 1\n",
    )

    for options in ("", "-n 2", "--reuse-db", "--reuse-db"):
        assert "4 passed" in project.sh(f"python -m pytest {options} shop")
