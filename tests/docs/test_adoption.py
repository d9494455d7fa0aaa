"""Le guide d’adoption, suivi à la lettre dans un projet tout neuf."""

import ast
import importlib
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sybil import Document

from conftest import python_blocks

from .new_project import NewProject
from .pages import DOCS, ROOT, fenced

sys.path.append(str(DOCS / "_ext"))
docstrings: Any = importlib.import_module("docstrings")
GUIDE = DOCS / "guides" / "adopter-le-bus.md"


def renamed(text: str, package: str) -> str:
    """Adapte un texte du guide au paquet où le dossier est copié."""
    return re.sub(r"\bsrc(?=[./]share_kernel)", package, text)


def commands(section: str) -> list[str]:
    """Renvoie les commandes d’une section du guide."""
    text = GUIDE.read_text("utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = fenced(text, "console")
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def adopt(project: NewProject, package: str) -> str:
    """Suit le guide ; renvoie ce qu’affiche son exemple."""
    document = Document(GUIDE.read_text(encoding="utf-8"), str(GUIDE))
    settings, example = (region.parsed for region in python_blocks(document))
    project.add_settings(renamed(settings.code, package))
    for command in commands("Installer"):
        project.sh(command)
    printed = project.sh("python manage.py shell", stdin=renamed(example.code, package))
    assert printed.endswith(example.expected)
    project.sh("python manage.py makemigrations --check --dry-run")
    return printed


@pytest.fixture
def project(tmp_path: Path) -> NewProject:
    return NewProject(tmp_path)


@pytest.mark.parametrize("package", ["src", "common"])
def test_a_new_project_copies_the_bus_as_the_guide_says(project: NewProject, package: str) -> None:
    copy, requirements, install = commands("Copier")
    project.sh(renamed(copy, package))
    project.sh(requirements)
    assert install == "pip install ./share_kernel.zip"

    adopt(project, package)

    again, update = (renamed(command, package) for command in commands("Mettre à jour une copie"))
    assert again == f"{update} --dry-run"
    assert "0 files to change" in project.sh(update)


def test_a_new_project_installs_the_bus_with_pip(project: NewProject) -> None:
    *_, install = commands("Copier")
    # Not among the packages that the tests share.
    project.sh(install.replace("install", "install --quiet --no-deps --target site"))

    document = Document(GUIDE.read_text(encoding="utf-8"), str(GUIDE))
    settings, example = (
        region.parsed.code.replace("src.share_kernel", "share_kernel")
        for region in python_blocks(document)
    )
    project.add_settings(
        settings, "INSTALLED_APPS += ['share_kernel.infrastructure.outbox']", "LANGUAGE_CODE = 'fr'"
    )
    with_site = "PYTHONPATH=site python manage.py"
    project.sh(f"{with_site} migrate --skip-checks --verbosity 0")
    printed = project.sh(f"{with_site} shell", stdin=example + LABEL)

    assert printed.splitlines()[-1] == "Registre des livraisons"  # its translations came too
    assert "The register is empty." not in project.sh(f"{with_site} events_status --skip-checks")


LABEL = """
from django.apps import apps
print(apps.get_app_config("share_kernel_outbox").verbose_name)
"""


def test_the_archive_in_english_is_in_english(tmp_path: Path) -> None:
    project = NewProject(tmp_path, "en")
    project.sh("python share_kernel.zip src/share_kernel")

    french = re.compile(
        r"\b(le|les|des|une|dans|est|sont|qui|avec|pour|cette|événements?)\b|[«»’éèàç\u00a0]"
    )
    for path in sorted((project.folder / "src").rglob("*.py")):
        source = path.read_text("utf-8")
        for node in docstrings.docstrings(source):
            assert not french.search(node.value.value), f"{path}:{node.lineno}"
    adopt(project, "src")


def test_the_archive_in_english_is_the_same_code(tmp_path: Path) -> None:
    def code(language: str) -> dict[str, str]:
        with zipfile.ZipFile(ROOT / "build/site" / language / "share_kernel.zip") as archive:
            names = [name for name in archive.namelist() if name.endswith(".py")]
            return {name: without_docstrings(archive.read(name).decode()) for name in names}

    assert code("fr") == code("en")


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                child.value.value = ""
    return ast.unparse(tree)


def test_the_copied_folder_finds_the_handlers_of_a_new_application(project: NewProject) -> None:
    project.sh("python share_kernel.zip common/event_bus")  # any name will do
    project.sh("python manage.py startapp shop")
    project.write(
        "shop/handlers.py",
        "from common.event_bus.infrastructure.event_bus import subscribe_async\n"
        "@subscribe_async('shop.sold')\n"
        "def ship(event): ...\n",
    )
    project.add_settings(
        "INSTALLED_APPS += ['common.event_bus', 'shop']",
        "INSTALLED_APPS += ['common.event_bus.infrastructure.outbox']",
        "DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'",
    )

    assert "shop.handlers.ship" in project.sh("python manage.py list_event_handlers")
    project.sh("python manage.py makemigrations --check --dry-run --skip-checks")
    project.sh("python manage.py migrate --skip-checks --verbosity 0")
    assert "The register is empty." in project.sh("python manage.py events_status --skip-checks")


def test_the_celery_application_is_copied_as_it_is(project: NewProject) -> None:
    for name in ("celery.py", "__init__.py"):
        shutil.copy(ROOT / "conf" / name, project.folder / "myproject" / name)

    assert "myproject" in project.sh("celery -A myproject report")
    printed = project.sh(
        "python manage.py shell", stdin="from celery import current_app as app\nprint(app.main)"
    )
    assert printed.endswith("myproject\n")
