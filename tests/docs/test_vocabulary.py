"""Le vocabulaire des deux langues, et la constance des termes de l’une à l’autre."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from .english import SOURCES, Translation, messages, names, readme, translations, without_code
from .french import Passage, passages
from .pages import DOCS

PATHS = r"\S*/\S+"  # folders of the site have French names
DATA = Path(__file__).parent / "vocabulary.toml"
WORDS: dict[str, Any] = tomllib.loads(DATA.read_text(encoding="utf-8"))
EXCEPTIONS = {(item["text"], item["pattern"]): item["reason"] for item in WORDS["exceptions"]}
TRANSLATIONS = translations()
FRENCH = passages()
MESSAGES = [*readme(), *(item for path in SOURCES for item in messages(path))]


def has(pattern: str, text: str) -> bool:
    return bool(re.search(pattern, text, re.IGNORECASE))


def forbidden(section: str, text: str) -> list[tuple[str, str]]:
    """Renvoie les motifs interdits que ce texte contient, et ce qu’il faut écrire."""
    return [(pattern, better) for pattern, better in WORDS[section].items() if has(pattern, text)]


def faults(section: str, texts: list[Passage]) -> list[str]:
    return [
        f"{item.place}: write « {better} », not {pattern}\n    in: {item.text}"
        for item in texts
        for pattern, better in forbidden(section, item.text)
        if (item.text, pattern) not in EXCEPTIONS
    ]


def missing_terms(item: Translation) -> list[tuple[str, str]]:
    """Renvoie les termes du français dont l’équivalent manque à la traduction."""
    french = without_code(item.french)
    return [
        (pattern, english)
        for pattern, english in WORDS["terms"].items()
        if has(pattern, french) and not has(english, item.english)
    ]


def test_french_words() -> None:
    left = faults("french", FRENCH)

    assert not left, "\n".join(left)


@pytest.mark.parametrize("section", ["english", "british"])
def test_english_words(section: str) -> None:
    left = [
        f"{item.place}: write « {better} », not {pattern}\n    in: {item.english}"
        for item in TRANSLATIONS
        for pattern, better in forbidden(section, item.english)
        if (item.french, pattern) not in EXCEPTIONS
    ]

    assert not left, "\n".join(left)


def test_the_code_and_the_readme_speak_american_english() -> None:
    left = faults("british", MESSAGES)

    assert not left, "\n".join(left)


def test_each_term_has_one_translation() -> None:
    left = [
        f"{item.place}: {pattern} becomes {english}\n    in: {item.french}\n    {item.english}"
        for item in TRANSLATIONS
        for pattern, english in missing_terms(item)
        if (item.french, pattern) not in EXCEPTIONS
    ]

    assert not left, "\n".join(left)


def test_each_entry_of_the_glossary_has_its_translation_checked() -> None:
    glossary = (DOCS / "glossaire.md").read_text(encoding="utf-8")
    glossary = glossary.partition(":::{glossary}")[2]
    entries = re.findall(r"^(\w.*)\n  \S", glossary, re.MULTILINE)

    assert len(entries) > 20
    assert [name for name in entries if not any(has(term, name) for term in WORDS["terms"])] == []


def test_no_exception_is_left_over() -> None:
    needed = {
        (item.text, pattern) for item in FRENCH for pattern, _ in forbidden("french", item.text)
    }
    for item in TRANSLATIONS:
        found = [*missing_terms(item), *forbidden("english", item.english)]
        needed |= {(item.french, pattern) for pattern, _ in found}

    assert all(EXCEPTIONS.values()), "each exception has its reason"
    assert set(EXCEPTIONS) - needed == set()


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("french", "Le bus émet un événement."),
        ("french", "La queue du broker."),
        ("french", "Ce champ est supporté."),
        ("french", "Il faut commiter."),
        ("english", "An asynchronous handler runs."),
        ("english", "The bus allows to publish."),
        ("english", "The *worker* stops."),
        ("british", "The behaviour of a cancelled task."),
        ("british", "The payload is serialised."),
    ],
)
def test_a_forbidden_form_is_seen(section: str, text: str) -> None:
    assert forbidden(section, text)


def test_a_term_translated_otherwise_is_seen() -> None:
    wrong = Translation("page.po:1", "Le relais envoie un réveil.", "The repeater sends a call.")

    assert len(missing_terms(wrong)) == 2


def test_english_spelling(tmp_path: Path) -> None:
    """Codespell lit les traductions, les messages et les noms du code, la fin du README."""
    texts = [(item.place, item.english) for item in TRANSLATIONS]
    texts += [(item.place, item.text) for item in MESSAGES]
    texts += [(path.name, name) for path in SOURCES for name in sorted(names(path))]
    lines = [re.sub(PATHS, "", text).replace("\n", " ") for _, text in texts]
    (tmp_path / "english.txt").write_text("\n".join(lines), encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--ignore-words-list=registre", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(lines) > 2000
    wrong = re.findall(r"\.txt:(\d+): (.*)", done.stdout)
    assert not wrong, "\n".join(f"{texts[int(line) - 1][0]}: {word}" for line, word in wrong)
    assert done.returncode == 0, done.stdout
