"""Exécute chaque extrait Python des pages, tel que le lecteur le copie."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from sybil import Document, Example, Region, Sybil
from sybil.integration.pytest import SybilItem

from docs._live.blocks import DURABLE_PAGES, Block
from src.share_kernel.infrastructure import dispatch
from src.share_kernel.testing import isolated_bus

ROOT = Path(__file__).resolve().parent

collect_ignore_glob = [
    "docs/conf.py",  # --doctest-modules would import it as conf, the name of a package
    "docs/_ext/*",
    "docs/_live/*",
    "noxfile.py",
    "tests/mutants/[!t]*",  # its tool comes with the dev extra only
    "tests/bench/register/app/*",  # an application that only the bench installs, with its peers
    "tests/chaos/app/*",  # an application that only the chaos installs
    "tests/browser/administration/*",  # an application that only a test’s server installs
    "tests/services/shop/*",  # an application that only the service tests install
    "tests/tenants/customers/*",  # likewise
]

# A Python block, then, after blank lines only, the text block that shows what it prints.
MARKDOWN = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n+^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
RST = re.compile(
    r"^\.\. code-block:: python\n\n(?P<code>(?:[ ]{3}.*\n|\n)+)"
    r"(?:^\.\. code-block:: text\n\n(?P<output>(?:[ ]{3}.*\n|\n)+))?",
    re.MULTILINE,
)


def python_blocks(document: Document) -> Iterable[Region]:
    """Trouve les extraits d’une page, chacun avec la sortie qu’elle annonce."""
    is_rst = document.path.endswith(".rst")
    for match in (RST if is_rst else MARKDOWN).finditer(document.text):
        code, output = match["code"], match["output"] or ""
        if is_rst:
            code, output = dedent(code), dedent(output)
        yield Region(match.start("code"), match.end("code"), Block(code, output), run)


def dedent(block: str) -> str:
    lines = [line.removeprefix("   ") for line in block.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def run(example: Example) -> str | None:
    """Exécute un extrait dans le module de sa page et compare ce qu’il affiche."""
    block: Block = example.parsed
    printed = io.StringIO()
    block.run(module_of(example.document), example.path, printed, example.line)
    if block.is_shown(printed.getvalue()):
        return None
    return (
        f"The page shows:\n{block.expected}\nThe block prints:\n{printed.getvalue()}\n"
        "Correct the block, or copy what it prints into the text block below it."
    )


def module_of(document: Document) -> ModuleType:
    """Une page est un module importable : les handlers y ont un nom, les annotations un sens."""
    name = "page_" + re.sub(r"\W", "_", str(Path(document.path).relative_to(ROOT)))
    if name not in sys.modules:
        sys.modules[name] = ModuleType(name)
    return sys.modules[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sans cette marque, des pages exécutées seules écriraient dans la base du développeur."""
    for item in items:
        if isinstance(item, SybilItem):
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Une demi-paire d’un journal ne se transmet pas d’un processus de pytest à l’autre."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _unplug_the_register() -> None:
    """Les réglages de test installent le registre ; le branchent ceux qui en parlent."""
    dispatch.enrol_with(None)


@pytest.fixture(scope="module")
def _page(
    request: pytest.FixtureRequest,
    _unplug_the_register: None,
    django_db_setup: None,
    django_db_blocker: Any,
) -> Iterator[None]:
    """Une page a sa base, vraiment validée, et rend le bus et Celery comme elle les a trouvés."""
    application = current_app._get_current_object()  # type: ignore[attr-defined]
    with django_db_blocker.unblock(), isolated_bus():
        if request.node.path.stem in DURABLE_PAGES:
            from src.share_kernel.infrastructure.outbox import enrolment

            dispatch.enrol_with(enrolment.enrol)
        yield
        call_command("flush", interactive=False, verbosity=0)
    application.set_current()


pytest_collect_file: Callable[..., Any] = Sybil(
    parsers=[python_blocks],
    patterns=["docs/*.md", "docs/*/*.md", "docs/*/*.rst", "README.md"],
    fixtures=["_page"],
).pytest()
