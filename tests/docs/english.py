"""L’anglais du dépôt : traductions, messages du code, commentaires, fin du README."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from babel.messages.pofile import read_po

from .french import ENGLISH_PART, Passage, keywords
from .pages import ROOT

CATALOGUES = sorted((ROOT / "locale" / "en").rglob("*.po"))
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "conf").rglob("*.py")])
CODE = r"`+[^`]*`+|\]\([^)]*\)"  # code, and the addresses of links


class Translation(NamedTuple):
    """Un message et sa traduction, sans leur code."""

    place: str
    french: str
    english: str


def without_code(text: str) -> str:
    """Retire d’un message ce que personne ne traduit."""
    return re.sub(CODE, "¤", text)


def translations() -> list[Translation]:
    """Renvoie chaque message des catalogues anglais."""
    found = []
    skipped = keywords()
    for path in CATALOGUES:
        with path.open("rb") as file:
            found += [
                Translation(
                    f"{path.relative_to(ROOT)}:{message.lineno}",
                    str(message.id),
                    without_code(str(message.string)),
                )
                for message in read_po(file)
                if message.id and message.id not in skipped
            ]
    return found


def readme() -> Iterator[Passage]:
    """Lit la fin du README."""
    path = ROOT / "README.md"
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines.index(ENGLISH_PART)
    for number, line in enumerate(lines[first:], first + 1):
        yield Passage(path, number, without_code(line))


def messages(path: Path) -> Iterator[Passage]:
    """Lit les textes d’un fichier Python : chaînes, hors docstrings, et commentaires."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield Passage(path, node.lineno, without_code(text))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Passage(path, token.start[0], without_code(token.string))


def names(path: Path) -> set[str]:
    """Renvoie les identifiants qu’un fichier définit, en mots séparés."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)}
    found |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name) for name in found}


DEFINITIONS = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
