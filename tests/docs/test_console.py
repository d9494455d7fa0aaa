"""Les commandes que les pages montrent existent et réussissent."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import PAGES, ROOT

ADOPTION = "adopter-le-bus.md"  # its commands run in a new project: see test_adoption.py


def commands() -> list[tuple[str, str]]:
    found = []
    for path in [*PAGES, ROOT / "README.md"]:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        found += [(path.name, line) for block in blocks for line in block.splitlines()]
    return [item for item in found if item[0] != ADOPTION]


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


@pytest.mark.parametrize(
    "command", sorted({c.removeprefix("$ ") for _, c in commands() if "manage.py" in c})
)
def test_a_management_command_succeeds(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *command.split()[1:]],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
