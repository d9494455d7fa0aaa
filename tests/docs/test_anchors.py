"""Les mêmes ancres dans les deux langues : le sélecteur garde la section du lecteur."""

from html.parser import HTMLParser

import pytest

from .pages import NAMES, built

TARGETS = {"section", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "figure", "table"}


class Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs).get("id")
        if tag in TARGETS and found:
            self.found.append(found)


def anchors(page: str) -> list[str]:
    parser = Anchors()
    parser.feed(page)
    return parser.found


@pytest.mark.parametrize("name", NAMES)
def test_the_anchors_are_the_same_in_both_languages(name: str) -> None:
    french, english = anchors(built("fr", name)), anchors(built("en", name))

    assert french
    assert sorted(french) == sorted(english)
    assert len(set(french)) == len(french)
