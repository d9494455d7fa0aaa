"""Les pages, telles que les tests les lisent."""

from __future__ import annotations

import html
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"
LANGUAGES = ("fr", "en")

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


def fenced(text: str, language: str) -> list[str]:
    """Renvoie le contenu de chaque bloc de ce langage dans un texte en Markdown."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def built_pages() -> list[str]:
    """Nomme chaque page construite, celles que Sphinx ajoute comprises."""
    pages = (SITE / "fr").rglob("*.html")
    return sorted(path.relative_to(SITE / "fr").with_suffix("").as_posix() for path in pages)


def address_of(language: str, name: str) -> str:
    """Renvoie l’adresse d’une page ; la page 404 se lit à une adresse que rien n’a."""
    return f"/{language}/nowhere" if name == "404" else f"/{language}/{name}.html"


def built(language: str, name: str) -> str:
    """Renvoie le HTML construit d’une page."""
    path = SITE / language / f"{name}.html"
    assert path.is_file(), f"{path} is missing: run `make site`"
    return path.read_text(encoding="utf-8")


def code_blocks(page: str) -> list[str]:
    """Renvoie le texte de chaque bloc de code d’une page construite."""
    found = re.findall(r'<div class="highlight"><pre>(.*?)</pre>', page, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", block)) for block in found]
