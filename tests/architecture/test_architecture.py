"""Ce que les dossiers promettent."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from src.share_kernel.version import __version__

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "src" / "share_kernel"
SOURCES = sorted(KERNEL.rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Renvoie ce qu’un fichier importe : « .x » pour un import relatif."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def test_the_contracts_between_packages_hold() -> None:
    """import-linter : modules indépendants, noyau sans modules, domaine sans infrastructure."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(KERNEL)))
def test_the_kernel_can_be_copied_anywhere(path: Path) -> None:
    """Ses imports internes sont relatifs : aucun ne nomme le paquet où il se trouve."""
    assert not {name for name in imported_modules(path) if name.startswith(("src", "conf"))}


@pytest.mark.parametrize(
    "path",
    [*sorted((KERNEL / "domain").glob("*.py")), *ROOT.glob("src/module/*/domain/*.py")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_domain_knows_neither_django_nor_celery(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path) if not name.startswith(".")}

    assert roots <= {*sys.stdlib_module_names, "msgspec", "src"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(KERNEL)))
def test_only_the_broker_and_the_tasks_know_celery(path: Path) -> None:
    if path.name not in {"broker.py", "celery_transport.py", "tasks.py"}:
        assert not {name for name in imported_modules(path) if re.match(r"(celery|kombu)\b", name)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(KERNEL)))
def test_the_core_does_not_know_the_register(path: Path) -> None:
    if "outbox" not in path.parts:
        assert not {name for name in imported_modules(path) if "outbox" in name}


def test_the_bus_works_without_celery() -> None:
    """Un import refusé vaut une bibliothèque absente."""
    code = """
import sys
sys.modules["celery"] = None
import os
os.environ.update(DJANGO_SETTINGS_MODULE="conf.settings", DATABASE_URL="sqlite://:memory:")
import django
django.setup()
from django.core.checks import run_checks
assert run_checks() == []
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from src.module.tenant.domain.events import TenantCreated
subscribe_async("tenant.created", lambda event: print("ran", event.tenant_slug), name="h")
from src.module.notification.handlers import announce_tenant
from src.share_kernel.infrastructure.event_bus import unsubscribe
unsubscribe("tenant.created", announce_tenant)
publish_event(TenantCreated(tenant_slug="acme", schema_name="acme"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "ran acme\n"


def test_package_files_are_empty() -> None:
    for path in ROOT.glob("src/**/__init__.py"):
        assert path.read_text() == "", path


def test_public_names_are_sorted() -> None:
    from src.share_kernel import testing
    from src.share_kernel.domain import domain_event
    from src.share_kernel.infrastructure import event_bus, tasks

    for module in (domain_event, event_bus, tasks, testing):
        assert module.__all__ == sorted(module.__all__)


def test_the_types_are_shipped() -> None:
    assert (KERNEL / "py.typed").exists()


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert project["version"] == __version__
    assert f"## [{__version__}]" in changelog


def test_no_committed_file_names_a_registry_or_a_machine() -> None:
    # Written so that this file does not name them either.
    registries = rb"(py[p]i|python[h]osted|npm[j]s|deb\.d[e]bian)\.(org|com)"
    forbidden = re.compile(rb"(" + registries + rb"|(^|[^\w.])/(work|root)/)")
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()

    for name in files:
        path = ROOT / name
        if path.exists():
            found = forbidden.search(path.read_bytes())
            assert not found, f"{name}: {found}"
