"""La page des garanties nomme des preuves : elles existent, et chaque faute a la sienne."""

import ast
import re

import pytest

from .pages import DOCS, ROOT

PAGE = (DOCS / "explications" / "garanties.md").read_text(encoding="utf-8")
FAILURES = (DOCS / "explications" / "que-se-passe-t-il-quand.md").read_text(encoding="utf-8")
OBSERVING = (DOCS / "guides" / "observer.md").read_text(encoding="utf-8")
FILES = list((ROOT / "tests").rglob("test_*.py"))


def section(title: str) -> str:
    """Renvoie une section de la page, sans son titre."""
    _, found, rest = PAGE.partition(f"\n## {title}\n")
    assert found, title
    return rest.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Renvoie les lignes des tableaux, sans leurs en-têtes."""
    lines = re.findall(r"^\| (.*) \|$(?!\n\|-)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def defined() -> set[str]:
    """Renvoie les noms des classes et des fonctions de tests."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds)
    }


FAULTS = rows(section("Les fautes des jours ordinaires"))
PROMISES = [
    *rows(section("Les promesses des deux chemins")),
    *rows(section("Les promesses du registre")),
    *rows(FAILURES),
]


def test_every_kind_of_fault_is_there_in_order() -> None:
    kinds = [row[0].partition(". ")[0] for row in FAULTS]

    assert list(dict.fromkeys(kinds)) == list("ABCDEFGHIJKL")
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row[0][:30])
def test_the_proofs_of_a_fault_exist(row: list[str]) -> None:
    names = re.findall(r"`(\w+)`", row[-1])

    assert names
    assert set(names) <= defined()


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0][:30])
def test_the_proofs_of_a_promise_exist(row: list[str]) -> None:
    proof = row[-1]
    files = set(re.findall(r"`(test_\w+\.py)`", proof))

    assert files or "`make chaos`" in proof
    assert files <= {path.name for path in FILES}


def test_the_messages_of_the_log_are_those_of_the_code() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    messages = re.sub(r"%[\w.]+|\{\w+\}", "…", source)
    shown = re.findall(r"^\| (?:WARNING|ERROR) \| `([^`]+)`", OBSERVING, re.MULTILINE)
    parts = [part for message in shown for part in re.split("[()]", message) if part]

    assert len(shown) > 5
    assert [part for part in parts if not re.search(as_pattern(part), messages)] == []


def as_pattern(message: str) -> str:
    """Une ellipse y tient lieu de ce que le journal remplit."""
    return re.escape(message.removesuffix(" …")).replace("…", ".*")
