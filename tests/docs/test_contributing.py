"""La page du contributeur, suivie à la lettre dans une copie du projet."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from babel.messages.pofile import read_po, write_po

from .making import HERE
from .pages import DOCS, MODELS, ROOT

PAGE = (DOCS / "contribuer" / "ecrire-un-guide.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
COPY, DOCTEST, TRANSLATE, CATALOGUES, SERVE, GATE = COMMANDS
GUIDE = COPY.split()[-1]
CATALOGUE = re.search(r"locale/en/\S+\.po", PAGE)[0]  # type: ignore[index]
ENTRY = re.search(r"```text\n(.+)\n```", PAGE)[1]  # type: ignore[index]


def test_the_targets_are_those_of_make_help_and_the_first_needs_no_site() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| `make ([a-z-]+)` \|", page, re.MULTILINE)
    done = subprocess.run(
        ["make", *HERE, "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shown = {line.split()[0] for line in done.stdout.splitlines()}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1]  # type: ignore[index]

    assert shown - set(described) == {"help", "clean", "lint", "types"}  # check runs the last two
    assert set(described) <= shown
    assert sorted(phony.split()) == sorted(shown)
    assert described[0] == "unit"
    assert re.search(r"^unit: \$\(READY\) ##", makefile, re.MULTILINE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Une copie de ce qui est versionné, ou va l’être."""
    folder = tmp_path_factory.mktemp("contribution") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Exécute une commande de la page, avec l’environnement virtuel d’ici."""
    if command.startswith("make"):
        command = shlex.join([*shlex.split(command), *HERE])
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        command, cwd=project, shell=True, env=env, capture_output=True, text=True, check=False
    )


def translate(path: Path) -> None:
    """Écrit une traduction là où il n’y en a pas."""
    with path.open("rb") as file:
        catalog = read_po(file, locale="en")
    for message in catalog:
        if message.id:
            links = re.findall(r"\[[^]]*\]\([^)]*\)", str(message.id))
            message.string = " ".join(["Some English", *links])
    with path.open("wb") as file:
        write_po(file, catalog, width=0, no_location=True)


def test_the_page_leads_from_an_empty_file_to_a_built_guide(project: Path) -> None:
    assert run(project, COPY).returncode == 0
    done = run(project, DOCTEST)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout

    done = run(project, "make site")
    assert done.returncode != 0
    assert f"{GUIDE}: WARNING: document isn't included in any toctree" in done.stderr
    index = project / "docs" / "guides" / "index.md"
    text = index.read_text(encoding="utf-8")
    index.write_text(text.replace("\ntester\n", f"\ntester\n{ENTRY}\n"), encoding="utf-8")

    done = run(project, TRANSLATE)
    assert done.returncode == 0, done.stderr
    done = run(project, CATALOGUES)
    assert done.returncode != 0
    assert re.search(rf"{CATALOGUE}:\d+: untranslated 'Verbe à l’infinitif'", done.stdout)
    assert "make traduire" in done.stdout
    translate(project / CATALOGUE)
    done = run(project, CATALOGUES)
    assert done.returncode == 0, done.stdout

    done = run(project, "make site")
    assert done.returncode == 0, done.stderr
    for language in ("fr", "en"):
        assert (project / "build" / "site" / language / "guides" / f"{ENTRY}.html").is_file()
    assert (SERVE, GATE) == ("make serve", "make site test check")


def test_an_output_that_differs_says_what_to_do(project: Path) -> None:
    page = project / "docs" / "guides" / "faux.md"
    model = MODELS[-1].read_text(encoding="utf-8")
    page.write_text(model.replace("is free again\n```", "is kept\n```"), encoding="utf-8")

    done = run(project, "make doctest PAGES=docs/guides/faux.md")

    page.unlink()
    assert done.returncode != 0
    assert "docs/guides/faux.md" in done.stdout
    for words in ("The page shows:", "is kept", "The block prints:", "is free again", "Correct"):
        assert words in done.stdout
