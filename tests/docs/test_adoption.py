"""Le guide d’adoption, suivi à la lettre dans un projet tout neuf."""

import re
import shutil
from pathlib import Path

import pytest
from sybil import Document

from conftest import python_blocks

from .new_project import NewProject
from .pages import DOCS, ROOT, fenced

GUIDE = DOCS / "guides" / "adopter-le-bus.md"


def renamed(text: str, package: str) -> str:
    """Adapte un texte du guide au paquet où le dossier est copié."""
    if package == "src":
        return text
    text = text.replace("src.share_kernel", f"{package}.share_kernel")
    text = re.sub(r"(?<![/\w])src(?=/| |$)", package, text, flags=re.MULTILINE)
    return text.replace(f"../share-kernel/{package}", "../share-kernel/src")


def console_commands(page: Path) -> list[str]:
    blocks = fenced(page.read_text("utf-8"), "console")
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.fixture
def project(tmp_path: Path) -> NewProject:
    return NewProject(tmp_path)


@pytest.mark.parametrize("package", ["src", "common"])
def test_a_new_project_adopts_the_bus_as_the_guide_says(project: NewProject, package: str) -> None:
    document = Document(GUIDE.read_text(encoding="utf-8"), str(GUIDE))
    settings, example = (region.parsed for region in python_blocks(document))
    copying = [item for item in console_commands(GUIDE) if "manage.py" not in item]
    checking = [item for item in console_commands(GUIDE) if "manage.py" in item]

    for command in copying:
        project.sh(renamed(command, package))
    project.add_settings(renamed(settings[0], package))
    for command in checking:
        project.sh(command)
    printed = project.sh("python manage.py shell", stdin=renamed(example[0], package))

    assert copying
    assert checking
    assert printed.endswith(example[1])
    project.sh("python manage.py makemigrations --check --dry-run")


def test_the_copied_folder_finds_the_handlers_of_a_new_application(project: NewProject) -> None:
    project.sh("mkdir -p common && cp -r ../share-kernel/src/share_kernel common/share_kernel")
    project.sh("python manage.py startapp shop")
    (project.folder / "shop" / "handlers.py").write_text(
        "from common.share_kernel.infrastructure.event_bus import subscribe_async\n"
        "@subscribe_async('shop.sold')\n"
        "def ship(event): ...\n"
    )
    project.add_settings(
        "INSTALLED_APPS += ['common.share_kernel', 'shop']",
        "INSTALLED_APPS += ['common.share_kernel.infrastructure.outbox']",
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
