"""Une page tient la longueur de son genre : le lecteur est fatigué."""

import re
from pathlib import Path

import pytest

from .french import CODE, plain, prose_lines
from .pages import DOCS, PAGES

WORDS = {
    ".": 370,  # the glossary; the home page is far below
    "tutoriel": 900,
    "guides": 400,
    "contribuer": 400,
    "modules": 400,
    "reference": 600,
    "explications": 1200,
    "decisions": 300,
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_short(path: Path) -> None:
    folder = path.relative_to(DOCS).parent.as_posix()
    text = path.read_text(encoding="utf-8")
    start = text.partition("\n---\n")[0].count("\n") + 1 if text.startswith("---\n") else 0
    prose = " ".join(
        plain(line)
        for number, line in prose_lines(path)
        if number > start and not line.startswith("|")
    )

    assert len(re.findall(r"\w[\w’'-]*", prose.replace(CODE, ""))) <= WORDS[folder]
