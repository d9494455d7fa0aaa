"""Ce que le lecteur copie est ce qui s’exécute, dans un projet tout neuf."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from docs._live.blocks import DURABLE_PAGES
from tests.docs.pages import NAMES, built

from .copying import Block, copy_page
from .pasting import ReadersProject

BUTTON = re.compile('class="(?:live )?highlight-(?:python|console|ini) ')
WITH_BUTTONS = [name for name in NAMES if BUTTON.search(built("fr", name))]
WITH_PYTHON = [name for name in NAMES if "highlight-python" in built("fr", name)]
ADOPTION = "guides/adopter-le-bus"
REGISTER = "guides/ne-rien-perdre"

# Settings that mean nothing in a new project, and why.
OTHER_SETTINGS = {"guides/multi-tenant": "those of a django-tenants project, on PostgreSQL"}

PROMPT = re.compile(r"^(\$|>>>) ", re.MULTILINE)
TEST = re.compile(r"^(class \w+\(\w*TestCase\)|def test_\w+|pytest_plugins =)", re.MULTILINE)

Copied = Callable[[str, str], tuple[Block, ...]]
Migrated = Callable[[bool, bool], ReadersProject]


@pytest.fixture(scope="module")
def copied(chromium: Browser, address: str) -> Iterator[Copied]:
    """Presse les boutons d’une page dans une langue, une seule fois."""
    context = chromium.new_context(
        base_url=address, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(15_000)  # a block without its button says so soon
    page = context.new_page()
    yield cache(lambda language, name: copy_page(page, f"/{language}/{name}.html"))
    context.close()


@pytest.fixture(scope="module")
def adopted(copied: Copied, tmp_path_factory: pytest.TempPathFactory) -> ReadersProject:
    """Un projet tout neuf, où l’on a collé ce que le guide d’adoption donne à copier."""
    copying, _install, settings, checking, *_ = [block.copied for block in copied("fr", ADOPTION)]
    project = ReadersProject(tmp_path_factory.mktemp("adopted"))
    project.sh(copying)
    project.add_settings(settings)
    project.sh(checking)
    return project


@pytest.fixture(scope="module")
def migrated(
    adopted: ReadersProject, copied: Copied, tmp_path_factory: pytest.TempPathFactory
) -> Migrated:
    """Ce projet et sa base, avec ou sans les modules, avec ou sans le registre."""
    settings, migrating, *_ = [block.copied for block in copied("fr", REGISTER)]

    @cache
    def make(has_modules: bool, has_register: bool) -> ReadersProject:
        project = adopted.copied_to(tmp_path_factory.mktemp("migrated"))
        if has_register:
            project.add_settings(settings)
        if has_modules:
            project.add_modules()
        project.sh(migrating)
        return project

    return make


@pytest.fixture
def project(migrated: Migrated, copied: Copied, name: str, tmp_path: Path) -> ReadersProject:
    """Le projet qu’une page suppose."""
    code = "\n".join(block.copied for block in copied("fr", name) if block.language == "python")
    uses_register = "from src.share_kernel.infrastructure.outbox" in code
    has_register = uses_register or Path(name).name in DURABLE_PAGES
    return migrated("src.module" in code, has_register).copied_to(tmp_path)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", WITH_BUTTONS)
def test_a_copy_button_gives_exactly_the_code(copied: Copied, name: str, language: str) -> None:
    """Ni invite, ni sortie, ni numéro : le code que le bloc montre."""
    blocks = copied(language, name)

    assert len(blocks) == len(BUTTON.findall(built(language, name)))
    for block in blocks:
        assert block.copied == block.shown
        assert not PROMPT.search(block.copied), block.copied


@pytest.mark.parametrize("name", WITH_BUTTONS)
def test_both_languages_give_the_same_code_and_output(copied: Copied, name: str) -> None:
    """Exécuter les extraits français, c’est donc exécuter les anglais."""
    for french, english in zip_longest(copied("fr", name), copied("en", name)):
        assert english == french, f"{name}: {french and french.copied}"


def test_a_console_block_is_copied_without_its_prompt(copied: Copied) -> None:
    first = copied("fr", "guides/handler-non-appele")[0]

    assert first.copied == "python manage.py check\npython manage.py list_event_handlers"


@pytest.mark.parametrize("name", WITH_PYTHON)
def test_what_a_reader_copies_runs_in_a_new_project(
    copied: Copied, project: ReadersProject, name: str
) -> None:
    blocks = [block for block in copied("fr", name) if block.language == "python"]
    tests = [block.copied for block in blocks if is_test(block.copied)]
    pasted = [block for block in blocks if not is_test(block.copied)]
    settings = [block.copied for block in blocks if is_settings(block.copied)]

    if settings and name not in OTHER_SETTINGS:
        project.add_settings(*settings)
        project.sh("python manage.py check")
    if tests:
        project.run_tests(tests)
    printed = project.paste([block.copied for block in pasted])

    for block, output in zip_longest(pasted, printed, fillvalue=None):
        assert block, f"{name}: printed after the last block:\n{output}"
        assert output == block.output, explained(name, blocks.index(block) + 1, block, output)


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_the_settings_of_another_project_would_not_do_in_a_new_one(
    copied: Copied, project: ReadersProject, name: str
) -> None:
    """Une exception qui ne sert plus doit partir."""
    project.add_settings(*[b.copied for b in copied("fr", name) if is_settings(b.copied)])

    with pytest.raises(AssertionError, match="TENANT_MODEL"):
        project.sh("python manage.py check")


def explained(name: str, number: int, block: Block, output: str | None) -> str:
    printed = "nothing: the shell stopped before" if output is None else output
    return (
        f"{name}, in French and in English, Python block {number}.\n"
        f"The clipboard holds:\n{block.copied}\n\n"
        f"The page shows:\n{block.output}\n"
        f"The shell prints:\n{printed}"
    )


def is_settings(code: str) -> bool:
    """Des réglages ne font que donner des valeurs à des noms en capitales."""
    return all(
        isinstance(item, ast.Assign)
        and all(isinstance(target, ast.Name) and target.id.isupper() for target in item.targets)
        for item in ast.parse(code).body
    )


def is_test(code: str) -> bool:
    """Des tests, et ce qui les déclare à pytest, sont des fichiers."""
    return bool(TEST.search(code))
