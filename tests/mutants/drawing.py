"""Tirer des mutants au sort, loin de ce que la liste exclut."""

from __future__ import annotations

import difflib
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .operators import mutated, places

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src/share_kernel/domain", "src/share_kernel/infrastructure")
CONFIG = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Mutant:
    """Un fichier, la faute qu’on y a glissée, et sa ligne."""

    path: str
    line: int
    operator: str
    code: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.operator}"

    def diff(self) -> str:
        before = (ROOT / self.path).read_text(encoding="utf-8").splitlines()
        lines = difflib.unified_diff(before, self.code.splitlines(), lineterm="", n=0)
        changed = [line for line in list(lines)[2:] if not line.startswith("@@")]
        return "\n".join(f"    {line}" for line in changed)


def candidates(seed: int) -> Iterator[Mutant]:
    """Donne les mutants dans un ordre tiré au sort, un seul par endroit et famille."""
    draw = random.Random(seed)
    codes = {path: (ROOT / path).read_text(encoding="utf-8") for path in _sources()}
    everywhere = [
        (path, line, choices)
        for path, code in codes.items()
        for (_, line, _), choices in sorted(places(code).items())
        if not any(_applies(rule, path, line, code) for rule in CONFIG["excluded"])
    ]
    draw.shuffle(everywhere)
    for path, line, choices in everywhere:
        name, occurrence = draw.choice(choices)
        text = mutated(codes[path], name, occurrence)
        if text is not None:
            yield Mutant(path, line, name, text)


def first_tests(path: str) -> list[str]:
    """Renvoie par quoi commencent les noms des tests à exécuter d’abord."""
    folder, _, module = path.replace("src/", "tests/", 1).rpartition("/")
    starts = (start for start in CONFIG["first"] if path.startswith(start))
    return [f"{folder}/test_{module}", *CONFIG["first"].get(next(starts, ""), [])]


def _sources() -> list[str]:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    return sorted(str(f.relative_to(ROOT)) for f in files if "migrations" not in f.parts)


def _applies(rule: dict[str, Any], path: str, line: int, code: str) -> bool:
    lines = code.splitlines()
    definitions = re.findall(r"^ *(?:def|class) (\w+)", "\n".join(lines[:line]), re.MULTILINE)
    return (
        path.endswith(rule["file"])
        and ("lines" not in rule or bool(re.search(rule["lines"], lines[line - 1])))
        and ("functions" not in rule or definitions[-1:] in [[name] for name in rule["functions"]])
    )
