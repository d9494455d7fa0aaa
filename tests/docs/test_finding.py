"""Ce qui dit d’où vient une page : son dépôt, s’il est connu, et l’image d’un lien partagé."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from .pages import DOCS, LANGUAGES, PAGES, ROOT, SITE, built

REPOSITORY = "https://github.com/acme/bus"
EDIT = f"{REPOSITORY}/edit/main/docs/guides/one.md"


def page_of(folder: Path, repository: str) -> str:
    """Construit deux pages avec la configuration du site, pour ce dépôt ; renvoie la seconde."""
    (folder / "guides").mkdir(parents=True)
    (folder / "index.md").write_text("# Home\n\n```{toctree}\nguides/one\njournal\n```\n")
    for name in ("guides/one", "journal"):
        (folder / f"{name}.md").write_text("# One\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-c", str(DOCS), str(folder)]
    env = os.environ | {
        "REPOSITORY_URL": repository,
        "READTHEDOCS_GIT_CLONE_URL": "",
        "DJANGO_SETTINGS_MODULE": "conf.settings",
    }
    done = subprocess.run(
        [*command, str(folder / "out")],
        capture_output=True, text=True, check=False, cwd=ROOT, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Could not understand" not in done.stderr
    return (folder / "out" / "guides" / "one.html").read_text(encoding="utf-8")


def test_a_page_leads_to_its_repository_and_to_its_source(tmp_path: Path) -> None:
    page = page_of(tmp_path / "docs", f"{REPOSITORY}.git")

    assert f'<a href="{REPOSITORY}">Dépôt</a>' in page
    assert f'<a href="{EDIT}">Modifier cette page</a>' in page


@pytest.mark.parametrize("repository", ["", "git@example.org:acme/bus.git"])
def test_without_an_address_no_link_leads_nowhere(tmp_path: Path, repository: str) -> None:
    page = page_of(tmp_path / "docs", repository)

    assert "Dépôt</a>" not in page
    assert "Modifier cette page" not in page


def test_an_unknown_forge_has_no_known_address_to_edit_at(tmp_path: Path) -> None:
    page = page_of(tmp_path / "docs", "https://git.example.org/acme/bus")

    assert '<a href="https://git.example.org/acme/bus">Dépôt</a>' in page
    assert "Modifier cette page" not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_shared_link_shows_an_image(language: str) -> None:
    with Image.open(SITE / language / "partage.png") as image:
        assert image.size == (1200, 630)
        assert len(image.convert("L").getcolors() or []) > 50  # letters were drawn
    assert (SITE / language / "partage.png").stat().st_size < 100_000


def test_a_description_keeps_its_no_break_spaces() -> None:
    """Sans eux, l’image couperait la ligne avant un point-virgule."""
    assert re.search(r'<meta name="description" content="[^"]*\u00a0[;:!?]', built("fr", "index"))


def test_the_image_is_not_the_same_in_both_languages() -> None:
    french, english = [(SITE / language / "partage.png").read_bytes() for language in LANGUAGES]

    assert french != english


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_page_has_its_line_in_the_index_of_its_section(path: Path) -> None:
    index = path.parent / "index.md"
    if path == index or path.parent.name in {"docs", "decisions"}:
        return

    assert f"- []({path.name})\u00a0: " in index.read_text(encoding="utf-8")
