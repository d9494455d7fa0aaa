"""Les types, relus par mypy dans un projet tout neuf où le dossier est copié sous un autre nom."""

from pathlib import Path

import pytest

from src.share_kernel.testing import isolated_bus

from . import typing_cases
from .new_project import NewProject
from .pages import ROOT

COPY = "shop.common.kernel"
MYPY = """\
[mypy]
strict = true
warn_unused_ignores = true
warn_unreachable = true
enable_error_code = ignore-without-code
plugins = mypy_django_plugin.main
files = shop
cache_dir = .cache

[mypy.plugins.django-stubs]
django_settings_module = myproject.{settings}
"""
REGISTER = f"""\
from .settings import *
from .settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "{COPY}", "{COPY}.infrastructure.outbox"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> NewProject:
    project = NewProject(tmp_path_factory.mktemp("typing"))
    project.sh("mkdir -p shop/common && touch shop/__init__.py shop/common/__init__.py")
    project.sh("python share_kernel.zip shop/common/kernel")
    project.sh("sed -i 's/^ALLOWED_HOSTS = /ALLOWED_HOSTS: list[str] = /' myproject/settings.py")
    write(project.folder / "myproject" / "register.py", REGISTER)
    cases = Path(typing_cases.__file__).read_text(encoding="utf-8")
    write(project.folder / "shop" / "cases.py", cases.replace("src.share_kernel", COPY))
    return project


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


# One unused ignore would fail too: it would mean that mypy accepts what it should refuse.
@pytest.mark.parametrize("settings", ["settings", "register"])
def test_the_copied_folder_passes_mypy_strict_with_or_without_the_register(
    project: NewProject, settings: str
) -> None:
    write(project.folder / "mypy.ini", MYPY.format(settings=settings))

    said = project.sh("python -m mypy")

    files = len(list((ROOT / "src" / "share_kernel").rglob("*.py")))
    assert said == f"Success: no issues found in {files + 3} source files\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "accepted",
    [
        typing_cases.accepted_as_functions,
        typing_cases.accepted_for_a_family,
        typing_cases.accepted_by_name,
        typing_cases.accepted_as_decorators,
        typing_cases.accepted_elsewhere,
    ],
)
def test_the_bus_accepts_what_the_types_accept(accepted: typing_cases.Case) -> None:
    with isolated_bus():
        accepted()
