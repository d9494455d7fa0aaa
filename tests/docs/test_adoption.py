"""Le guide d’adoption, suivi à la lettre dans un projet tout neuf."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Document

from conftest import python_blocks

from .pages import DOCS, ROOT

GUIDE = DOCS / "guides" / "adopter-le-bus.md"


class Project:
    """Un projet fait par ``django-admin startproject``, avec ce dépôt à côté."""

    def __init__(self, folder: Path, package: str) -> None:
        self.folder = folder / "myproject"
        self.package = package
        self.folder.mkdir()
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder / "share-kernel" / "src", ignore=ignore)
        self.sh("django-admin startproject myproject .")

    def renamed(self, text: str) -> str:
        """Adapte un texte du guide au paquet où le dossier est copié."""
        if self.package == "src":
            return text
        text = text.replace("src.share_kernel", f"{self.package}.share_kernel")
        text = re.sub(r"(?<![/\w])src(?=/| |$)", self.package, text, flags=re.MULTILINE)
        return text.replace(f"../share-kernel/{self.package}", "../share-kernel/src")

    def sh(self, command: str, stdin: str = "") -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO_")}
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        env.pop("DATABASE_URL", None)
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.folder, env=env, input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def console_commands(page: Path) -> list[str]:
    blocks = re.findall(
        r"^```console\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.fixture(params=["src", "common"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return Project(tmp_path, request.param)


def test_a_new_project_adopts_the_bus_as_the_guide_says(project: Project) -> None:
    document = Document(GUIDE.read_text(encoding="utf-8"), str(GUIDE))
    settings, example = (region.parsed for region in python_blocks(document))
    copying = [item for item in console_commands(GUIDE) if "manage.py" not in item]
    checking = [item for item in console_commands(GUIDE) if "manage.py" in item]

    for command in copying:
        project.sh(project.renamed(command))
    with (project.folder / "myproject" / "settings.py").open("a") as file:
        file.write(project.renamed(settings[0]))
    for command in checking:
        project.sh(command)
    printed = project.sh("python manage.py shell", stdin=project.renamed(example[0]))

    assert (copying, checking) != ([], [])
    assert printed.endswith(example[1])
    project.sh("python manage.py makemigrations --check --dry-run")


def test_the_copied_folder_finds_the_handlers_of_a_new_application(tmp_path: Path) -> None:
    project = Project(tmp_path, "common")
    project.sh("mkdir -p common && cp -r ../share-kernel/src/share_kernel common/share_kernel")
    project.sh("python manage.py startapp shop")
    (project.folder / "shop" / "handlers.py").write_text(
        "from common.share_kernel.infrastructure.event_bus import subscribe_async\n"
        "@subscribe_async('shop.sold')\n"
        "def ship(event): ...\n"
    )
    with (project.folder / "myproject" / "settings.py").open("a") as file:
        file.write("INSTALLED_APPS += ['common.share_kernel', 'shop']\n")
        file.write("INSTALLED_APPS += ['common.share_kernel.infrastructure.outbox']\n")
        file.write("DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'\n")

    assert "shop.handlers.ship" in project.sh("python manage.py list_event_handlers")
    project.sh("python manage.py makemigrations --check --dry-run --skip-checks")
    project.sh("python manage.py migrate --skip-checks --verbosity 0")
    assert "The register is empty." in project.sh("python manage.py events_status --skip-checks")


def test_the_celery_application_is_copied_as_it_is(tmp_path: Path) -> None:
    project = Project(tmp_path, "src")
    for name in ("celery.py", "__init__.py"):
        shutil.copy(ROOT / "conf" / name, project.folder / "myproject" / name)

    assert "myproject" in project.sh("celery -A myproject report")
    printed = project.sh(
        "python manage.py shell", stdin="from celery import current_app as app\nprint(app.main)"
    )
    assert printed.endswith("myproject\n")
