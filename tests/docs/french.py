"""La prose française du dépôt, passage par passage, telle qu’un correcteur la lit."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from .pages import PAGES, ROOT

FRENCH_FILES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PYTHON_FILES = sorted(
    [*(ROOT / "src").rglob("*.py"), *(ROOT / "conf").rglob("*.py"), *ROOT.glob("docs/**/*.py")]
)
ENGLISH_PART = "## In English"  # the end of the README
CODE = "Kodex"  # stands for code: a name without gender or number, that elides nothing

# What the checker takes for something else: Redis for « tu redis », CI for a chemical formula.
NAMES = (r"\b(?:Redis|CI|django-[\w-]+|U\+00A0)\b", CODE)
IDENTIFIER = (r"\b\w+\([\w, ]*\)|\b\w+_\w+\b|\b[A-Z]\w+Error\b", CODE)

# English nouns that the glossary keeps. The checker does not know them: it reads, in their place,
# a French noun of the same gender and the same elision, and so sees how the rest agrees.
NOUNS = {
    "handler": "porteur",
    "worker": "serveur",
    "broker": "courtier",
    "tenant": "client",
    "commit": "virement",
    "thread": "fil",
    "outbox": "armoire",
    "dataclass": "classe",
    "dataclasses": "classes",
    "docstring": "phrase",
    "fixture": "mesure",
    "coroutine": "routine",
}

MARKUP = [
    (r"\{[\w:+-]+\}`[^`]*`|:[\w:+-]+:`[^`<]*`|`+[^`]*`+(?!_)|\[\]\([^)]*\)", CODE),
    (r"!?\[([^\]]*)\]\([^)]*\)", r"\1"),  # links, to their text
    (r"<[^>\s]+>|\{[.#][^}]*\}|\(\S+\)=", ""),
    (r"\*+([^*]+)\*+", r"\1"),
    IDENTIFIER,
    NAMES,
]
ARGUMENT = re.compile(r"(?<!\*)\*\w+\*(?!\*)")  # in a docstring, an argument’s name
ROLE_WITH_TEXT = re.compile(r":[\w:+-]+:`([^`<]+?)\s*<[^`]*>`")
LEADING = re.compile(
    r"^\s*(?:#+ |:(?:description|alt): |[-*] (?:- )?|\d+\. |#\. |: +|:{3,}\{admonition\} )"
)
NOT_PROSE = re.compile(
    r"^\s*(?::(?!description:|alt:)[\w-]+:(?!`)|\.\. (?!admonition)"
    r"|:{3,}(?!\{admonition\})|\|[\s|:-]+\|$|[=~*^-]+$)"
)


class Passage(NamedTuple):
    """Un texte à relire, et l’endroit où il commence."""

    path: Path
    line: int
    text: str

    @property
    def place(self) -> str:
        """L’endroit, comme un éditeur l’ouvre."""
        inside = self.path.is_relative_to(ROOT)
        return f"{self.path.relative_to(ROOT) if inside else self.path}:{self.line}"


def plain(text: str) -> str:
    """Renvoie un texte sans son balisage : le code devient un nom, un lien son texte."""
    text = ROLE_WITH_TEXT.sub(r"\1", text.replace("\\|", "¦"))
    for pattern, replacement in MARKUP:
        text = re.sub(pattern, replacement, text)
    return text.strip()


def for_checker(text: str) -> str:
    """Renvoie un passage où les noms anglais du glossaire sont devenus français."""

    def noun(match: re.Match[str]) -> str:
        word, plural = match[1], match[2]
        french = NOUNS[word.lower()] + plural
        return french.capitalize() if word[0].isupper() else french

    return re.sub(rf"\b({'|'.join(NOUNS)})(s?)\b", noun, text, flags=re.IGNORECASE)


def cells(line: str) -> list[str]:
    """Renvoie les passages d’une ligne : ses cellules si c’est une ligne de tableau."""
    line = LEADING.sub("", line.removeprefix(".. admonition:: "))
    if line.startswith("|"):
        return [plain(cell) for cell in line.strip("| ").replace("\\|", "¦").split("|")]
    return [plain(line)]


def page_passages(path: Path) -> list[Passage]:
    """Lit une page hors des blocs de code et des directives, une phrase à la fois."""
    found: list[Passage] = []
    for number, line in prose_lines(path):
        last = found[-1] if found else None
        continues = last and last.line == number - 1 and not last.text.endswith((".", "?", ":"))
        if last and continues and not LEADING.match(line) and not line.startswith(("|", " ")):
            found[-1] = last._replace(line=number, text=f"{last.text} {plain(line)}")
        else:
            found += [Passage(path, number, cell) for cell in cells(line) if cell]
    return found


def prose_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Trouve les lignes de prose d’une page, numérotées."""
    in_front_matter = in_fence = in_literal = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line == ENGLISH_PART:
            return
        if line == "---" and (number == 1 or in_front_matter):
            in_front_matter = not in_front_matter
        elif in_front_matter:
            key, _, value = line.partition(": ")
            if key.strip() != "keywords" and " " in value:
                yield number, value.strip("\"'")
        elif re.match(r"\s*(?:```|~~~)", line) and path.suffix == ".md":
            in_fence = not in_fence
        elif path.suffix == ".rst" and re.match(r"\.\. (?:code-block|index|toctree)", line):
            in_literal = True
        elif in_literal and (not line or line.startswith(" ")):
            continue
        else:
            in_literal = False
            if line.strip() and not in_fence and not NOT_PROSE.match(line):
                yield number, line


def keywords() -> set[str]:
    """Renvoie ce que tapent les lecteurs de chaque page, dans leurs mots et non les nôtres."""
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    return {
        line for text in texts for line in re.findall(r"^ +:?keywords: (.+)$", text, re.MULTILINE)
    }


def docstring_passages(path: Path) -> Iterator[Passage]:
    """Lit les docstrings d’un fichier Python : un passage par paragraphe ou par argument."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:  # a docstring, or the description under a field
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield from paragraphs(path, node.lineno, inspect.cleandoc(text))


def paragraphs(path: Path, first: int, docstring: str) -> Iterator[Passage]:
    """Découpe une docstring à la manière de Google."""
    parts: list[tuple[int, str]] = []
    for number, line in zip(count(first), docstring.splitlines(), strict=False):
        argument = re.match(r"\s+[\w*.]+: (.*)", line)
        if not line.strip() or re.fullmatch(r"(?:Args|Returns|Raises|Yields|Example):", line):
            parts.append((number, ""))
        elif argument:
            parts.append((number, argument[1]))
        elif re.match(r"\s*(?:>>>|\.\.\. )", line):
            parts.append((number, ""))
        elif parts and parts[-1][1]:
            parts[-1] = (parts[-1][0], f"{parts[-1][1]} {line.strip()}")
        else:
            parts.append((number, line.strip()))
    for number, text in parts:
        if text:
            yield Passage(path, number, plain(ARGUMENT.sub(CODE, text)))


def passages() -> list[Passage]:
    """Renvoie toute la prose française, sur une ligne chaque fois."""
    found = [item for path in [*PAGES, *FRENCH_FILES] for item in page_passages(path)]
    found += [item for path in PYTHON_FILES for item in docstring_passages(path)]
    return found
