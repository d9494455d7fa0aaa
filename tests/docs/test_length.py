"""Une page tient la longueur de son genre : le lecteur est fatigué."""

import re
from pathlib import Path

import pytest

from .pages import DOCS, PAGES, prose

WORDS = {
    ".": 350,  # the glossary; the home page is far below
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
    lines = prose(path)
    if lines[0] == (1, "---"):  # keywords and description are for search engines
        lines = lines[[line for _, line in lines].index("---", 1) + 1 :]
    text = " ".join(line for _, line in lines if not line.startswith("|"))

    assert len(re.findall(r"\w[\w’'-]*", text)) <= WORDS[folder]
