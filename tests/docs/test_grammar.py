"""Le français des pages, des docstrings et des fichiers du dépôt, relu par grammalecte."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.services.conftest import missing

from .english import translations
from .french import ARGUMENT, CODE, Passage, for_checker, page_passages, passages, plain

EXCEPTIONS = Path(__file__).parent / "grammar.toml"
# Off: docstrings say « Rend… », not the imperative « Rends… » ; « handlers synchrones » is
# nobody's gender. On: « ne » that is missing, unknown compounds.
OPTIONS = ["-off", "imp", "eepi", "-on", "neg", "mc"]
INSTALL = "install it with: apt-get install grammalecte-cli"


class Fault(NamedTuple):
    """Une remarque du correcteur."""

    place: str
    text: str
    excerpt: str
    message: str
    is_spelling: bool


def review(texts: list[Passage], folder: Path) -> list[Fault]:
    """Fait relire des passages, en une exécution."""
    path = folder / "texts.txt"
    path.write_text("".join(f"{for_checker(item.text)}\n" for item in texts), encoding="utf-8")
    done = subprocess.run(
        ["grammalecte-cli", "-f", str(path), "-j", *OPTIONS],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    found = []
    for paragraph in json.loads(done.stdout)["data"]:
        passage = texts[paragraph["iParagraph"] - 1]
        place, text = passage.place, passage.text
        for remark in paragraph["lGrammarErrors"]:
            excerpt = for_checker(text)[remark["nStart"] : remark["nEnd"]]
            found.append(Fault(place, text, excerpt, remark["sMessage"], is_spelling=False))
        for remark in paragraph["lSpellingErrors"]:
            word = remark["sValue"]
            if word != CODE:
                found.append(Fault(place, text, word, "unknown word", is_spelling=True))
    return found


@pytest.fixture(scope="session")
def checker() -> None:
    if not shutil.which("grammalecte-cli"):
        missing(f"grammalecte-cli is missing, so the French is not proofread; {INSTALL}")


@pytest.fixture(scope="session")
def faults(checker: None, tmp_path_factory: pytest.TempPathFactory) -> list[Fault]:
    return review(passages(), tmp_path_factory.mktemp("grammar"))


@pytest.fixture(scope="module")
def words() -> set[str]:
    groups = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8"))["words"]
    listed = [word for group in groups for word in group["accepted"]]

    assert len(listed) == len(set(listed)), "a word is accepted twice"
    assert all(group["reason"] for group in groups)
    return set(listed)


@pytest.fixture(scope="module")
def sentences() -> list[tuple[str, str]]:
    listed = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8")).get("sentences", [])

    assert all(item["reason"] for item in listed)
    return [(item["text"], item["excerpt"]) for item in listed]


def test_the_grammar_is_right(faults: list[Fault], sentences: list[tuple[str, str]]) -> None:
    left = [
        f"{item.place}: {item.message}\n    « {item.excerpt} » in: {item.text}"
        for item in faults
        if not item.is_spelling and (item.text, item.excerpt) not in sentences
    ]

    assert not left, "\n".join(
        [*left, f"Fix the sentence; if the checker is wrong, say so in {EXCEPTIONS.name}."]
    )


def test_every_word_is_known(faults: list[Fault], words: set[str]) -> None:
    left = [
        f"{item.place}: {item.excerpt}\n    in: {item.text}"
        for item in faults
        if item.is_spelling and item.excerpt not in words
    ]

    assert not left, "\n".join(
        [*left, f"Fix the word, put it in `code`, or accept it in {EXCEPTIONS.name}."]
    )


def test_no_exception_is_left_over(
    faults: list[Fault], words: set[str], sentences: list[tuple[str, str]]
) -> None:
    unknown = {item.excerpt for item in faults if item.is_spelling}
    needed = {(item.text, item.excerpt) for item in faults if not item.is_spelling}

    assert sorted(words - unknown) == [], f"remove these words from {EXCEPTIONS.name}"
    assert [item for item in sentences if item not in needed] == []


def test_a_fault_is_found_wherever_it_hides(checker: None, tmp_path: Path) -> None:
    wrong = "les handlers asynchrone"
    page = tmp_path / "page.md"
    page.write_text(
        "---\n"
        f"description: Voici {wrong} du bus.\n"
        "---\n"
        "# Titre\n\n"
        f"- Dans une liste, {wrong} du bus.\n- Un lien : [voici {wrong}](ailleurs.md).\n\n"
        f"| a | b |\n|---|---|\n| une cellule | {wrong} du bus |\n\n"
        f"```python\n# les handlers asynchrone\n```\n\n"
        f":::{{admonition}} Un titre pour {wrong}\n:class: warning\n\nCorps avec {wrong}.\n:::\n",
        encoding="utf-8",
    )

    found = [item for item in review(list(page_passages(page)), tmp_path) if not item.is_spelling]

    lines = [int(item.place.rpartition(":")[2]) for item in found if item.excerpt == "asynchrone"]
    assert sorted(lines) == [2, 6, 7, 11, 17, 20]


def test_every_sentence_of_the_site_is_proofread() -> None:
    """Les catalogues disent, eux aussi, toute la prose : rien n’échappe au découpage."""
    read = " ".join(item.text for item in passages())
    missed = [
        f"{item.place}: {item.french}"
        for item in translations()
        if plain(item.french) not in read and plain(ARGUMENT.sub(CODE, item.french)) not in read
    ]

    assert missed == []
