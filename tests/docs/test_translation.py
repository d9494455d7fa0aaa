"""Le contrôle des catalogues voit chaque sorte de retard."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog

from .pages import ROOT


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")  # what it imports is beside it
    spec = importlib.util.spec_from_file_location("gate", ROOT / "docs" / "_ext" / "catalogues.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gate", module)
    spec.loader.exec_module(module)
    for name, value in {
        "ROOT": tmp_path,
        "ENGLISH": tmp_path / "en",
        "FRENCH": tmp_path / "fr",
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


def extracted(*texts: str) -> dict[Path, Catalog]:
    catalog = Catalog()
    for text in texts:
        catalog.add(text)
    return {Path("page.po"): catalog}


def write(gate: ModuleType, content: str, name: str = "page.po") -> None:
    gate.ENGLISH.mkdir(exist_ok=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    (gate.ENGLISH / name).write_text(header + content, encoding="utf-8")


def test_a_complete_catalogue_passes(gate: ModuleType) -> None:
    write(gate, 'msgid "Publier un fait"\nmsgstr "Publish a fact"\n')

    assert gate.late(extracted("Publier un fait")) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('msgid "Publier un fait"\nmsgstr ""\n', "en/page.po:4: untranslated 'Publier un fait'"),
        ('#, fuzzy\nmsgid "Publier un fait"\nmsgstr "Publish"\n', "en/page.po:5: fuzzy 'Publier"),
        ('msgid "Ancien"\nmsgstr "Old"\n', "en/page.po: stale, lacks 'Publier un fait'"),
        ('msgid "Publier un fait"\nmsgstr "Publish it"\n\nmsgid "Ancien"\nmsgstr "Old"\n',
         "en/page.po:7: stale, no page says 'Ancien'"),
        ('msgid "Publier un fait"\nmsgstr "Publier un fait"\n', None),
    ],
    ids=["untranslated", "fuzzy", "lacking", "left over", "identical"],
)  # fmt: skip
def test_each_fault_is_named_with_its_place(
    gate: ModuleType, content: str, fault: str | None
) -> None:
    write(gate, content)

    found = gate.late(extracted("Publier un fait"))

    if fault is None:
        fault = "French left as its own translation: 'Publier un fait'"
    assert any(fault in item for item in found), found


def test_a_missing_catalogue_and_an_orphan_are_faults(gate: ModuleType) -> None:
    write(gate, "", name="gone.po")

    assert gate.late(extracted("Publier un fait")) == [
        "en/page.po: missing catalogue",
        "en/gone.po: orphan, its page no longer exists",
    ]


def test_updating_keeps_translations_and_removes_orphans(gate: ModuleType) -> None:
    write(gate, 'msgid "Publier un fait"\nmsgstr "Publish a fact"\n')
    write(gate, "", name="gone.po")

    gate.update(extracted("Publier un fait", "Nouveau"))

    assert not (gate.ENGLISH / "gone.po").exists()
    text = (gate.ENGLISH / "page.po").read_text(encoding="utf-8")
    assert 'msgstr "Publish a fact"' in text
    assert len(gate.late(extracted("Publier un fait", "Nouveau"))) == 1


def test_what_is_only_code_translates_itself(gate: ModuleType) -> None:
    texts = ["`stale`, `fuzzy`", "``done``", "``done`` ou ``dead``"]
    gate.update(extracted(*texts))

    (fault,) = gate.late(extracted(*texts))
    assert fault.endswith("untranslated '``done`` ou ``dead``'")
