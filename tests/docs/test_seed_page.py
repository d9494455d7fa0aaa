"""La page de départ garde chaque mot, chaque nom et chaque exemple de sa demande."""

import contextlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.db import transaction

from .pages import DOCS, built

SEED = (Path(__file__).parent / "data" / "seed.txt").read_text(encoding="utf-8")
CONTENT = SEED[SEED.index("# Bus d'Événements Domaine") :]


def examples() -> list[str]:
    """Renvoie les extraits Python du texte de départ, sans leur retrait."""
    found = re.findall(r"(?:^    .*\n|^\n)+", CONTENT, re.MULTILINE)
    blocks = [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in found]
    return [block[block.index("from src") :] for block in blocks if "from src" in block]


def words(text: str) -> list[str]:
    """Les mots, aux apostrophes et aux espaces insécables près, sans marques de mise en page."""
    text = text.replace("’", "'").replace("\u00a0", " ")
    return re.findall(r"[\w'./()→+\[\],]+", re.sub(r"[│├└─`*]", " ", text))


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def visible_text(page: str) -> str:
    parser = Text()
    parser.feed(page[page.index("<article") : page.index("</article")])
    return "".join(parser.parts)


def test_every_word_of_the_seed_is_on_the_page_in_its_order() -> None:
    """Le texte de départ est une sous-suite du texte de la page."""
    remaining = iter(words(visible_text(built("fr", "modules/event_bus"))))
    missing = [
        word for word in words(re.sub(r"^(#+|\d\.) ", "", CONTENT, flags=re.MULTILINE))
        if not any(word.strip(".") == other.strip(".") for other in remaining)
    ]  # fmt: skip

    assert missing == []


def test_its_sections_come_in_its_order() -> None:
    page = visible_text(built("fr", "modules/event_bus"))
    titles = [title.replace("'", "’") for title in re.findall(r"^#+ (.*)$", CONTENT, re.MULTILINE)]

    positions = [page.index(title) for title in titles]
    assert positions == sorted(positions)


def test_its_examples_are_on_the_page_verbatim() -> None:
    source = (DOCS / "modules" / "event_bus.rst").read_text(encoding="utf-8")

    for example in examples():
        indented = "\n".join(f"   {line}" if line else "" for line in example.splitlines())
        assert indented in source
    assert len(examples()) == 2


@pytest.mark.django_db(transaction=True)
def test_its_full_example_runs_verbatim() -> None:
    """La première ligne s’affiche avant le commit, la seconde après."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), transaction.atomic():
        exec(compile(examples()[-1], "seed.txt", "exec"), {"__name__": "seed_example"})
        print("-- commit --")

    assert printed.getvalue().splitlines() == [
        "Cache mis à jour pour facture inv-001",
        "-- commit --",
        "Email envoyé pour facture inv-001",
    ]
