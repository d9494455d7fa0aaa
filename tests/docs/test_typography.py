"""La typographie française des pages et des docstrings, et le vocabulaire des deux langues."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from .pages import PAGES, ROOT, prose

NBSP = "\u00a0"
CODE = r"`+[^`]*`+|\]\([^)]*\)"  # code, and the addresses of links
RULES = {
    "a straight apostrophe": r"[A-Za-zÀ-ÿ]'[A-Za-zÀ-ÿ¤]",
    "three dots": r"(?<!\.)\.\.\.(?!\.)",
    "a breakable space before a double mark": r"[\wÀ-ÿ)¤»*] [:;!?%](?=\s|$)",
    "no space before a double mark": r"[A-Za-zÀ-ÿ»][;!?](?=\s|$)",
    "a breakable space in quotes": r"« | »",
    "no space in quotes": rf"«[^{NBSP}]|[^{NBSP}]»",
    "a narrow no-break space": "\u202f",
    "double spaces": r"(?<=[\wÀ-ÿ,.;]) {2,}(?=\S)",
    "straight double quotes": r'(?<![=\w])"[A-Za-zÀ-ÿ]',
    "a capital without its accent": r"\b(A|Evénement|Ecri\w+|Etat)\b(?= (?:la|le|retenir|partir))",
}
FORBIDDEN_FRENCH = [
    r"évènement", r"\bgestionnaires? d.événements?", r"\bécouteurs?\b", r"\bretourne",
    r"\blibrairie",
    r"\bdispatcher\b", r"\bsimplement\b", r"\bil suffit\b", r"\bvous devriez\b", r"\bsouscri",
]  # fmt: skip
FORBIDDEN_ENGLISH = [
    r"\blistener", r"\bsimply\b", r"\bjust\b", r"\bshared core\b", r"\bevents bus\b", r"\bactualit",
    r"\bperformant", r"\bin a first time\b",
]  # fmt: skip
SEED_WORDS = {"modules/event_bus.rst": {r"\bsouscri"}}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_french_pages(path: Path) -> None:
    faults = [
        f"{path.name}:{number}: {name}: {line.strip()}"
        for number, line in prose(path)
        if not (path.suffix == ".rst" and re.fullmatch(r"[\s=~*#-]*", line))
        for name, rule in RULES.items()
        if re.search(rule, line)
    ]

    assert faults == []


def docstrings() -> list[tuple[str, str]]:
    found = []
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "conf").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node, clean=True)
                if text:
                    name = getattr(node, "name", "module")
                    found.append((f"{path.relative_to(ROOT)}:{name}", text))
    return found


def test_french_docstrings() -> None:
    faults = []
    for where, text in docstrings():
        without_code = re.sub(r"`+[^`]*`+", "¤", text)
        for line in without_code.splitlines():
            # Google sections and argument names are followed by an English colon.
            content = re.sub(r"^\s*[\w*]+(\.\w+)*:(?= |$)", "", line)
            faults += [
                f"{where}: {name}: {line}"
                for name, rule in RULES.items()
                if re.search(rule, content)
            ]

    assert faults == []


def test_docstrings_begin_with_one_short_sentence() -> None:
    for where, text in docstrings():
        first = text.splitlines()[0]
        assert len(first) <= 100, where
        assert first.endswith("."), where


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_french_vocabulary(path: Path) -> None:
    allowed = SEED_WORDS.get("/".join(path.parts[-2:]), set())
    faults = [
        f"{path.name}:{number}: {rule}: {line.strip()}"
        for number, line in prose(path)
        for rule in FORBIDDEN_FRENCH
        if rule not in allowed and re.search(rule, line, re.IGNORECASE)
    ]

    assert faults == []


def test_english_spelling(tmp_path: Path) -> None:
    """Codespell lit les traductions, sans leur code."""
    for path in sorted((ROOT / "locale" / "en").rglob("*.po")):
        with path.open("rb") as file:
            texts = [re.sub(CODE, "", str(item.string)) for item in read_po(file)]
        (tmp_path / f"{path.stem}.txt").write_text("\n".join(texts), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_english_vocabulary() -> None:
    faults = []
    for path in sorted((ROOT / "locale" / "en").rglob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file):
                text = re.sub(CODE, "", str(message.string))
                faults += [
                    f"{path.name}:{message.lineno}: {rule}: {text}"
                    for rule in [*FORBIDDEN_ENGLISH, NBSP, "[«»]"]
                    if message.id and re.search(rule, text, re.IGNORECASE)
                ]

    assert faults == []
