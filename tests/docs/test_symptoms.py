"""« Mon handler n’est pas appelé » : chaque ligne que la page cite est de celles que l’on voit."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings
from django.utils.module_loading import autodiscover_modules

from src.share_kernel.infrastructure.event_bus import event_bus
from src.share_kernel.infrastructure.outbox.status import REASONS
from src.share_kernel.testing import isolated_bus

from .pages import DOCS, ROOT

PAGE = (DOCS / "guides" / "handler-non-appele.md").read_text(encoding="utf-8")
SOURCE = "".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "src" / "share_kernel").rglob("*.py")
)
HANDLERS = """
from src.share_kernel.infrastructure.event_bus import subscribe_sync

@subscribe_sync("tenant.created")
def greet(event):
    pass
"""


def first_cells(title: str) -> list[str]:
    """Renvoie ce que cite la première colonne du tableau d’une section."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_events_status_writes_each_line() -> None:
    empty, *reasons = first_cells("Il est listé, rien ne tourne")

    assert empty in SOURCE
    assert len(reasons) == 4
    assert {reason.removeprefix("1 ") for reason in reasons} < set(REASONS)


def test_the_log_holds_each_line() -> None:
    for line in first_cells("Il a cessé"):
        words = [part.strip(" ()") for part in line.split("…") if part.strip(" ()")]
        assert words
        assert all(word in SOURCE for word in words), line


def test_list_event_handlers_writes_what_the_page_quotes() -> None:
    for line in ("No handler is subscribed.", "(unknown)"):
        assert f"`{line}`" in PAGE
        assert line in SOURCE


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Une application dont ``handlers`` est un dossier."""
    folder = tmp_path / "packaged" / "handlers"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "stock.py").write_text(HANDLERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "packaged"]:
        del sys.modules[name]


@pytest.mark.parametrize(("content", "count"), [("", 0), ("from . import stock\n", 1)])
def test_of_a_package_only_the_init_is_imported(package: Path, content: str, count: int) -> None:
    (package / "__init__.py").write_text(content, encoding="utf-8")

    with isolated_bus(), override_settings(INSTALLED_APPS=["packaged"]):
        before = len(event_bus.subscriptions())
        autodiscover_modules("handlers")
        after = len(event_bus.subscriptions())

    assert after - before == count
