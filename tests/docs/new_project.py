"""Le projet tout neuf d’un lecteur, à côté d’une copie de ce dépôt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .pages import ROOT


class NewProject:
    """Un projet fait par ``django-admin startproject``, avec ce dépôt à côté."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "myproject"
        self.folder.mkdir()
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder / "share-kernel" / "src", ignore=ignore)
        self.sh("django-admin startproject myproject .")

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

    def add_settings(self, *blocks: str) -> None:
        """Ajoute des extraits à la fin des réglages."""
        with (self.folder / "myproject" / "settings.py").open("a", encoding="utf-8") as file:
            file.writelines(f"\n{block}\n" for block in blocks)
