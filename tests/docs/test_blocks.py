"""Aucun extrait n’échappe à l’exécution."""

import ast
import code
import contextlib
import io
import re
from pathlib import Path

import pytest
from sybil import Document

from conftest import MARKDOWN, RST, dedent, python_blocks
from docs._live.blocks import DURABLE_PAGES

from .pages import DOCS, FENCE, NAMES, PAGES, ROOT, SITE, built, code_blocks, fenced

ALLOWED = {"python", "console", "text", "json", "ini", "toml"}
FILES = {"guides/tester"}  # its blocks are files, not lines to paste into a shell
EVERY_PAGE = [*PAGES, ROOT / "README.md"]


def languages(path: Path) -> list[str]:
    """Renvoie le langage de chaque bloc de code d’une page, dans toutes les écritures possibles."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rst":
        return re.findall(
            r"^\s*\.\. (?:code-block|code|sourcecode|highlight)::\s*(\S*)", text, re.MULTILINE
        )
    opened, found = False, []
    for match in FENCE.finditer(text):
        opened = not opened
        if opened:
            directive = re.fullmatch(r"\{(code-block|code|sourcecode)\}", match[1])
            if directive:
                found.append(match[2] or "")
            elif not match[1].startswith("{"):
                found.append(match[1])
    return found


def text_blocks(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rst":
        pattern = r"^\.\. code-block:: text\n\n((?:[ ]{3}.*\n|\n)+)"
        return [dedent(block) for block in re.findall(pattern, text, re.MULTILINE)]
    return fenced(text, "text")


@pytest.mark.parametrize("path", EVERY_PAGE, ids=lambda path: path.name)
class TestEachPage:
    def test_every_block_says_a_language_that_we_check(self, path: Path) -> None:
        assert set(languages(path)) <= ALLOWED

    def test_every_python_block_is_executed(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")

        executed = list(python_blocks(Document(text, str(path))))

        assert len(executed) == languages(path).count("python")

    def test_no_literal_block_hides_code(self, path: Path) -> None:
        """Un paragraphe terminé par « :: » ouvre en rst un bloc que rien n’exécute."""
        if path.suffix == ".rst":
            assert not re.search(r"^(?!\.\.).*::$", path.read_text(encoding="utf-8"), re.MULTILINE)

    def test_no_text_block_is_python(self, path: Path) -> None:
        for block in text_blocks(path):
            with contextlib.suppress(SyntaxError):
                statements = ast.parse(block).body
                simple = (ast.Expr,)  # a printed name or number happens to be an expression
                assert all(isinstance(item, simple) for item in statements), block


def test_no_page_is_skipped() -> None:
    """Sybil sait sauter un bloc ; aucune page ne le lui demande."""
    for path in EVERY_PAGE:
        assert not re.search(r"skip:|invisible-code", path.read_text(encoding="utf-8")), path


def test_the_number_of_executed_blocks_is_known(record_property: pytest.FixtureRequest) -> None:
    blocks = [
        match for path in EVERY_PAGE
        for match in (RST if path.suffix == ".rst" else MARKDOWN).finditer(path.read_text("utf-8"))
    ]  # fmt: skip
    print(f"{len(blocks)} executed blocks, no counter-example")
    assert len(blocks) > 30


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_show_the_same_code(name: str) -> None:
    assert code_blocks(built("fr", name)) == code_blocks(built("en", name))


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_built_pages_show_the_blocks_that_ran(language: str) -> None:
    """Ce que le lecteur voit est ce que la source contient."""
    for path, name in zip(PAGES, NAMES, strict=True):
        shown = [block.strip() for block in code_blocks(built(language, name))]
        document = Document(path.read_text(encoding="utf-8"), str(path))
        for region in python_blocks(document):
            assert region.parsed.code.strip() in shown, name


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in FILES])
def test_the_blocks_can_be_pasted_into_a_shell(name: str, request: pytest.FixtureRequest) -> None:
    """Le shell de Django coupe un bloc indenté à la première ligne vide."""
    path = PAGES[NAMES.index(name)]
    document = Document(path.read_text(encoding="utf-8"), str(path))
    if path.stem in DURABLE_PAGES:
        request.getfixturevalue("outbox")
    console = code.InteractiveConsole({})
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        for region in python_blocks(document):
            for line in [*region.parsed.code.splitlines(), ""]:
                console.push(line)

    assert "Error" not in errors.getvalue(), errors.getvalue()


def test_the_site_is_built() -> None:
    for page in ("index.html", "fr/modules/event_bus.html", "en/modules/event_bus.html"):
        assert (SITE / page).is_file(), f"{page} is missing: run `make site`"
    assert DOCS.is_dir()
