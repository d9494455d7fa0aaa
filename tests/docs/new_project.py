"""Le projet tout neuf d’un lecteur, avec l’archive qu’il a téléchargée."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .pages import ROOT


class NewProject:
    """Un projet fait par ``django-admin startproject``, où l’archive vient d’être téléchargée."""

    def __init__(self, folder: Path, language: str = "fr") -> None:
        self.folder = folder / "myproject"
        self.folder.mkdir()
        shutil.copy(ROOT / "build" / "site" / language / "share_kernel.zip", self.folder)
        self.sh("django-admin startproject myproject .")

    def sh(self, command: str, stdin: str = "") -> str:
        """Exécute une commande, qui doit réussir ; renvoie ce qu’elle affiche."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO_")}
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        env.pop("DATABASE_URL", None)
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.folder, env=env, input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, name: str, text: str) -> None:
        """Écrit un fichier du projet, et les dossiers qui le contiennent."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def add_settings(self, *blocks: str) -> None:
        """Ajoute des extraits à la fin des réglages."""
        with (self.folder / "myproject" / "settings.py").open("a", encoding="utf-8") as file:
            file.writelines(f"\n{block}\n" for block in blocks)
