"""Les pages, telles que les tests les lisent."""

from __future__ import annotations

import html
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"

MODELS = sorted((DOCS / "_modeles").glob("*.md"))
PAGES = sorted({*DOCS.rglob("*.md"), *DOCS.rglob("*.rst")} - {*MODELS})
NAMES = [path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES]

# One page of each kind, for what is the same on all the pages of a kind.
KINDS = [
    "index", "tutoriel/facture-approuvee", "guides/tester", "modules/event_bus",
    "reference/reglages", "explications/garanties", "decisions/index", "glossaire",
    "search", "genindex", "404",
]  # fmt: skip

FENCE = re.compile(r"^\s*(?:`{3,}|~{3,})(\S*)(?: (\S+))?[^\n]*$", re.MULTILINE)


def prose(path: Path) -> list[tuple[int, str]]:
    """Renvoie les lignes de prose d’une page, numérotées, sans code ni balisage d’adresse."""
    lines, in_code, indent = [], False, False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if path.suffix == ".md":
            if line.lstrip().startswith("```"):
                in_code = not in_code
                continue
        elif line.startswith(".. code-block"):
            indent = True
            continue
        elif indent and line and not line.startswith(" "):
            indent = False
        skip = in_code or indent or re.match(r"\s*:\w[\w-]*:(?!`)|\.\. |\(\S+\)=|:::", line)
        if not skip:
            lines.append((number, re.sub(r"`+[^`]*`+|\]\([^)]*\)|<[^>\s]+>", "¤", line)))
    return lines


def built(language: str, name: str) -> str:
    """Renvoie le HTML construit d’une page."""
    return (SITE / language / f"{name}.html").read_text(encoding="utf-8")


def code_blocks(page: str) -> list[str]:
    """Renvoie le texte de chaque bloc de code d’une page construite."""
    found = re.findall(r'<div class="highlight"><pre>(.*?)</pre>', page, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", block)) for block in found]
