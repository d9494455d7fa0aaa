"""Les commandes que les pages montrent existent et réussissent."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .making import HERE
from .pages import DOCS, PAGES, ROOT, fenced

# Followed to the letter in a new project, and in a copy of this one: test_adoption.py and
# test_contributing.py. The home page installs as the first of these does: see below.
ADOPTION = DOCS / "guides" / "adopter-le-bus.md"
HOME = DOCS / "index.md"
CELERY = DOCS / "guides" / "brancher-celery.md"
ELSEWHERE = {ADOPTION, CELERY, HOME, DOCS / "contribuer" / "ecrire-un-guide.md"}


def commands() -> list[tuple[str, str]]:
    found = []
    for path in {*PAGES, ROOT / "README.md"} - ELSEWHERE:
        text = path.read_text(encoding="utf-8")
        blocks = fenced(text, "console")
        found += [(path.name, line) for block in blocks for line in block.splitlines()]
    return found


def test_every_line_of_a_console_block_is_a_command() -> None:
    for page, line in commands():
        assert re.match(r"\$ (python manage\.py|make) \w+", line), f"{page}: {line}"


@pytest.mark.parametrize("target", sorted({c.split()[2] for _, c in commands() if "make " in c}))
def test_a_make_target_exists(target: str) -> None:
    """Les exécuter toutes est le travail de la CI."""
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_home_page_installs_as_the_guide_does() -> None:
    home, guide = (path.read_text(encoding="utf-8") for path in (HOME, ADOPTION))

    assert fenced(home, "console") == fenced(guide, "console")[:1]
    assert "(archive:share_kernel.zip)" in home
    assert "(archive:../share_kernel.zip)" in guide


def test_the_home_page_works_in_make_shell(tmp_path: Path) -> None:
    code, output = fenced(HOME.read_text(encoding="utf-8"), "(?:python|text)")

    done = subprocess.run(
        ["make", "shell", *HERE],
        cwd=ROOT,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "conf.settings",  # not those of the tests
            "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        },
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )

    assert output in done.stdout, done.stdout + done.stderr


class Project:
    """Le projet de référence, avec le registre, sur une base que l’on a migrée."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.env: dict[str, str] = os.environ | {
            "DJANGO_SETTINGS_MODULE": "conf.settings",  # not those of the tests
            "OUTBOX": "1",
            "BROKER_URL": "memory://",  # relay_events without --execute wants somebody to wake up
            "DATABASE_URL": f"sqlite:///{database}",
        }

    def manage(self, arguments: str) -> None:
        """Exécute une commande, ou l’interrompt poliment si elle tourne sans fin."""
        process = subprocess.Popen(
            [sys.executable, "-u", "manage.py", *arguments.split()],
            cwd=ROOT, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        if arguments.startswith("relay_events") and "--once" not in arguments:
            assert process.stdout
            assert process.stdout.readline().startswith("Relaying")
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("console") / "db.sqlite3")
    project.manage("migrate")
    return project.database


@pytest.mark.parametrize(
    "command",
    sorted({c.removeprefix("$ python manage.py ") for _, c in commands() if "manage.py" in c}),
)
def test_a_management_command_succeeds(command: str, migrated: Path, tmp_path: Path) -> None:
    shutil.copy(migrated, tmp_path / "db.sqlite3")
    Project(tmp_path / "db.sqlite3").manage(command)
