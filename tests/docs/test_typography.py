"""La typographie de chaque langue : espaces, guillemets, nombres et dates."""

import ast
import html
import re
from pathlib import Path

import pytest

from .english import readme, translations
from .french import PYTHON_FILES, passages
from .pages import NAMES, ROOT, built

NBSP = "\u00a0"
# A whole number of four figures or more, neither a year nor part of a name: RFC 3339, ISO 8601.
LONG = r"(?<!RFC[ \u00a0])(?<!ISO[ \u00a0])(?<![\d.,#/-])(?!20[23]\d\b)\b[1-9]\d{3,}\b"
UNITS = r"(?:%|[kMGµm]?[so]|[kMGT]?B|Ko|h|min|ms)"
FRENCH_MONTHS = r"janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre"
ENGLISH_MONTHS = r"January|February|March|April|May|June|July|August|September|October|November"
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
    "a decimal point": rf"(?<![\d.])\d+\.\d+[ {NBSP}]{UNITS}(?!\w)",
    "thousands without a no-break space": rf"{LONG}|\d[ ,]\d{{3}}\b",
    "a breakable space before a unit": rf"\d {UNITS}(?!\w)(?! par)",
    "an English date": rf"\d{{1,2}}/\d{{1,2}}/\d{{2,4}}|\b(?:{ENGLISH_MONTHS}|December)\b",
}
ENGLISH_RULES = {
    "a French quote": "[«»]",
    "a no-break space": f"[{NBSP}\u202f]",
    "a curly quote, which the build makes": "[‘’“”]",
    "a space before a double mark": r"[\w)¤*] [:;!?%](?=\s|$)",
    "double spaces": r"\S {2,}\S",
    "a decimal comma": r"\b\d+,\d{1,2}\b",
    "thousands without a comma": rf"{LONG}|\d[ .]\d{{3}}\b",
    "a French date": (
        rf"\d{{1,2}}/\d{{1,2}}/\d{{2,4}}|\b\d{{1,2}} (?:{ENGLISH_MONTHS}|December)\b"
        rf"|\b(?:{FRENCH_MONTHS}|décembre)\b"
    ),
}


def test_french_typography() -> None:
    faults = [
        f"{item.place}: {name}: {item.text}"
        for item in passages()
        for name, rule in RULES.items()
        if re.search(rule, item.text)
    ]

    assert faults == []


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_one_short_sentence(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first, *_ = (ast.get_docstring(node) or ".").splitlines()
            assert len(first) <= 100, first
            assert first.endswith("."), first


def test_english_typography() -> None:
    texts = [(item.place, item.english) for item in translations()]
    texts += [(item.place, item.text) for item in readme()]
    faults = [
        f"{place}: {name}: {text}"
        for place, text in texts
        for name, rule in ENGLISH_RULES.items()
        if re.search(rule, text)
    ]

    assert faults == []


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", NAMES)
def test_the_pages_show_no_straight_quote(language: str, name: str) -> None:
    article = built(language, name).partition("<article")[2].partition("</article>")[0]
    article = article.partition(">")[2]
    text = re.sub(r"(?s)<(pre|code|dt|script|svg)\b.*?</\1>|<[^>]*>", " ", article)

    assert re.findall(r".{0,30}\w['\"]\w.{0,30}|(?<![\w¤])\"\w.{0,30}", html.unescape(text)) == []


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", NAMES)
def test_the_tables_separate_thousands(language: str, name: str) -> None:
    cells = re.findall(r"<td>(?:<p>)?([\d.,\s]+)(?:</p>)?</td>", built(language, name))
    expected = rf"\d{{1,3}}(?:{NBSP if language == 'fr' else ','}\d{{3}})*(?:[.,]\d+)?"

    version = r"\d+(?:\.\d+)+"

    assert [cell for cell in cells if not re.fullmatch(f"{expected}|{version}", cell)] == []


@pytest.mark.parametrize(
    ("rules", "name", "text"),
    [
        (RULES, "a decimal point", f"Elle dure 1.5{NBSP}s."),
        (RULES, "thousands without a no-break space", "Il envoie 17653 messages."),
        (RULES, "thousands without a no-break space", "Il envoie 17 653 messages."),
        (RULES, "a breakable space before a unit", "Elle dure 60 s."),
        (RULES, "an English date", "Le November 23."),
        (ENGLISH_RULES, "a decimal comma", "It takes 1,5 seconds."),
        (ENGLISH_RULES, "thousands without a comma", "It sends 17653 messages."),
        (ENGLISH_RULES, "a French date", "On 23 November 2026."),
        (ENGLISH_RULES, "a curly quote, which the build makes", "the bus’s log"),
        (ENGLISH_RULES, "a space before a double mark", "What now ?"),
    ],
)
def test_a_fault_is_seen(rules: dict[str, str], name: str, text: str) -> None:
    assert re.search(rules[name], text)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (RULES, f"Celery 5.7 et Python 3.11, en 2026{NBSP}: 17{NBSP}653 messages, 1,5{NBSP}s."),
        (ENGLISH_RULES, "RFC 3339, Celery 5.7, on November 23, 2026: 17,653 messages, 1.5 s."),
    ],
)
def test_right_numbers_pass(rules: dict[str, str], text: str) -> None:
    assert [name for name, rule in rules.items() if re.search(rule, text)] == []
