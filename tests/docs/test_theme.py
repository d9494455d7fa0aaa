"""Ce que nos gabarits remplacent dans le thème s’y trouve encore, et n’est plus sur le site."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from .pages import DOCS, LANGUAGES, SITE

TEMPLATES = DOCS / "_templates"
PAGES = {
    "index": "Home\n====\n\n.. toctree::\n   :caption: Part\n\n   one\n\n.. py:function:: f()\n",
    "one": "One\n===\n\n.. toctree::\n\n   two\n\nSection\n-------\n",
    "two": "Two\n===\n",
}


def replacements(template: str) -> Iterator[tuple[str, bool]]:
    """Renvoie chaque texte qu’un gabarit remplace, et s’il n’en reste alors plus rien."""
    tree = Environment(autoescape=True).parse((TEMPLATES / template).read_text("utf-8"))
    for call in tree.find_all(nodes.Filter):
        if call.name == "replace":
            old = call.args[0].as_const()
            new = call.args[1]
            texts = [new, *new.find_all(nodes.Const)]
            yield old, not any(old in getattr(text, "value", "") for text in texts)


def pages(folder: Path) -> str:
    """Réunit toutes les pages d’un site."""
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.rglob("*.html")))


@pytest.fixture(scope="module")
def bare_theme(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Un petit site que le thème écrit seul."""
    folder = tmp_path_factory.mktemp("theme")
    for name, text in PAGES.items():
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")
    options = ["-q", "-C", "-D", "html_theme=furo"]  # -C: no conf.py
    command = [sys.executable, "-m", "sphinx", *options, str(folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return pages(folder / "out")


@pytest.mark.parametrize("template", ["page.html", "search.html"])
def test_each_text_that_a_template_replaces_is_still_in_the_theme(
    bare_theme: str, template: str
) -> None:
    wanted = [old for old, _gone in replacements(template)]

    assert wanted
    assert [old for old in wanted if old not in bare_theme] == []


def test_the_icons_that_we_tidy_are_still_in_the_theme(bare_theme: str) -> None:
    spec = importlib.util.spec_from_file_location("tidying", DOCS / "_ext" / "access.py")
    assert spec
    assert spec.loader
    tidying = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tidying)

    assert tidying.ICON_TITLE.search(bare_theme)
    assert {"svg-pencil", "svg-eye"} == {
        re.findall(r'"(svg-\w+)"', found)[0] for found in tidying.UNUSED_ICON.findall(bare_theme)
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_shows_a_text_of_the_theme_that_a_template_replaces(language: str) -> None:
    gone = [old for old, is_gone in replacements("page.html") if is_gone]
    site = pages(SITE / language)

    assert len(gone) > 8
    assert [old for old in gone if old in site] == []
    assert not re.search(r'<div class="content-icon-container">(?!\s*<nav )', site)
