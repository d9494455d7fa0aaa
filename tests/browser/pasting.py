"""Le projet tout neuf du lecteur, et ce qu’il y fait de ce qu’il copie."""

from __future__ import annotations

import os
import re
import select
import shutil
import threading
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from tests.docs.new_project import NewProject
from tests.docs.pages import ROOT

MODULES = ("tenant", "invoicing", "accounting", "notification")
SECONDS = 60

# A module, so that the names it needs do not hide a page’s missing import.
QUIET_SHELL = """
import sys, traceback
sys.ps1 = sys.ps2 = ""
sys.displayhook = lambda value: None  # a page announces what is printed, not what is returned
sys.excepthook = lambda kind, error, trace: traceback.print_exception(error, file=sys.stdout)
"""
END_OF_BLOCK = "=== end of block ===\n"
END_OF_INPUT = "\x04"  # Ctrl-D


class ReadersProject(NewProject):
    """Un projet dont ``share_kernel`` est copié comme le guide le dit."""

    def copied_to(self, folder: Path) -> ReadersProject:
        """Renvoie une copie de ce projet, base de données comprise."""
        other = copy(self)
        other.folder = folder / "myproject"
        shutil.copytree(self.folder.parent, folder, dirs_exist_ok=True)
        return other

    def write(self, name: str, blocks: Sequence[str]) -> None:
        text = "".join(f"\n{block}\n" for block in blocks)
        (self.folder / name).write_text(text, encoding="utf-8")

    def add_modules(self) -> None:
        """Copie les modules du projet de référence, et les installe."""
        self.sh(f"cp -r {ROOT}/src/module src/module")
        self.add_settings(f"INSTALLED_APPS += {[f'src.module.{name}' for name in MODULES]}")

    def run_tests(self, blocks: Sequence[str]) -> None:
        """Fait un fichier des tests d’une page, et les exécute comme elle le dit."""
        code = "\n".join(blocks)
        self.write("conftest.py", [block for block in blocks if "pytest_plugins" in block])
        self.write("test_page.py", [block for block in blocks if "pytest_plugins" not in block])
        if "TestCase" in code:
            assert re.search(r"^Ran [1-9]", self.sh("python manage.py test 2>&1"), re.MULTILINE)
        if "import pytest" in code:
            self.sh("python -m pytest --quiet --ds=myproject.settings test_page.py")

    def paste(self, blocks: Sequence[str]) -> list[str]:
        """Colle des blocs dans ``manage.py shell`` et renvoie ce que chacun affiche."""
        self.write("quiet_shell.py", [QUIET_SHELL])
        mark = f"\n\nprint({END_OF_BLOCK.rstrip()!r})\n"
        lines = "".join(f"{block}{mark}" for block in ["import quiet_shell", *blocks])
        reader, shell = os.openpty()
        is_over = threading.Event()
        typing = threading.Thread(target=type_in, args=(reader, lines + END_OF_INPUT, is_over))
        typing.start()
        try:
            # No IPython, even installed, nor the developer’s own start-up files and history; no
            # automatic import of models either: a page imports what it uses.
            printed = self.sh(
                f"HOME=$PWD TERM=dumb timeout {SECONDS} "
                "python manage.py shell --interface python --no-startup --no-imports "
                f"< {os.ttyname(shell)}"
            )
        finally:
            is_over.set()
            typing.join()
            os.close(reader)
            os.close(shell)
        return printed.split(END_OF_BLOCK)[1:-1]


def type_in(terminal: int, text: str, is_over: threading.Event) -> None:
    """Tape aussi vite que le shell lit, et s’arrête avec lui."""
    os.set_blocking(terminal, False)
    data = text.encode()
    while data and not is_over.is_set():
        if select.select([], [terminal], [], 0.1)[1]:
            data = data[os.write(terminal, data) :]
