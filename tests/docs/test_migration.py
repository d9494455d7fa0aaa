"""Le guide de migration, suivi pas à pas dans un projet tout neuf qui emploie les signaux."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sybil import Document

from conftest import python_blocks

from .new_project import NewProject
from .pages import DOCS

GUIDE = DOCS / "guides" / "migrer-depuis-les-signaux.md"
FILE = re.compile(r"# (?P<path>\S+\.py)(?P<continued>, continued)?\n")
DELETED = re.compile(r"^post_save\.disconnect\((\w+), .*\n", re.MULTILINE)

STEPS = ("Publier à côté du signal", "Déplacer un récepteur à la fois", "Retirer le signal")

READY = """
    def ready(self):
        from django.utils.module_loading import autodiscover_modules
        autodiscover_modules("receivers")
"""


class Block(NamedTuple):
    """Un extrait de la page, et ce qu’elle dit qu’il affiche."""

    code: str
    output: str


class Application:
    """Les applications du guide, dans l’état où ses extraits les ont menées."""

    def __init__(self, folder: Path) -> None:
        self.project = NewProject(folder)
        self.files: list[Path] = []
        self.definitions = ""
        self.project.sh(
            "python share_kernel.zip src/share_kernel\n"
            "python manage.py startapp accounts && python manage.py startapp mailing\n"
            "mkdir accounts/domain && touch accounts/domain/__init__.py"
        )
        with (self.project.folder / "mailing" / "apps.py").open("a") as file:
            file.write(READY)
        self.project.add_settings("INSTALLED_APPS += ['accounts', 'mailing', 'src.share_kernel']")
        self.project.sh("python manage.py migrate --verbosity 0")

    def apply(self, block: Block) -> None:
        """Écrit le fichier que nomme l’extrait, et supprime les récepteurs qu’il retire."""
        header = FILE.match(block.code)
        if header:
            self.write(header["path"], block.code, append=bool(header["continued"]))
        for receiver in DELETED.findall(block.code):
            self.delete(receiver)

    def run(self, block: Block) -> str:
        """Exécute dans un nouveau shell un extrait qui n’est pas un fichier."""
        code = DELETED.sub("", block.code)
        printed = self.shell(self.definitions + code)
        self.definitions += definitions_in(code)
        return printed

    def write(self, name: str, code: str, *, append: bool) -> None:
        if "AccountOpened" in code and "class AccountOpened" not in code:
            code = f"from accounts.domain.events import AccountOpened\n{code}"
        path = self.project.folder / name
        if path not in self.files:
            self.files.append(path)
        with path.open("a" if append else "w") as file:
            file.write(code)

    def delete(self, receiver: str) -> None:
        """Fait ce que le guide demande : le code du récepteur disparaît."""
        for path in self.files:
            tree = ast.parse(path.read_text())
            kept = [node for node in tree.body if getattr(node, "name", "") != receiver]
            if len(kept) < len(tree.body):
                tree.body = kept
                path.write_text(ast.unparse(tree))
                return
        raise LookupError(f"no file of the guide defines {receiver}")

    def shell(self, code: str) -> str:
        modules = [path.relative_to(self.project.folder).with_suffix("") for path in self.files]
        imports = [f"from {'.'.join(module.parts)} import *\n" for module in modules]
        return self.project.sh(
            "python manage.py shell --verbosity 0", stdin="".join(imports) + code
        )

    def sign_up(self, email: str, card: str = "valid") -> str:
        """Renvoie ce qu’affiche une inscription, puis le nombre de comptes ouverts."""
        return self.shell(
            f"try:\n    sign_up({email!r}, {card!r})\nexcept RuntimeError:\n    pass\n"
            f"print('accounts:', User.objects.filter(email={email!r}).delete()[0])\n"
        )


def blocks(*sections: str) -> Iterator[Block]:
    """Extrait les blocs des sections nommées, ou de toute la page."""
    text = GUIDE.read_text(encoding="utf-8")
    for region in python_blocks(Document(text, str(GUIDE))):
        title = re.findall(r"^## (.*)$", text[: region.start], re.MULTILINE)[-1]
        if title in sections or not sections:
            yield Block(region.parsed.code, region.parsed.expected)


def definitions_in(code: str) -> str:
    """Renvoie les fonctions et les imports d’un extrait, que les suivants emploient."""
    kinds = (ast.FunctionDef, ast.Import, ast.ImportFrom)
    return "".join(
        f"{ast.unparse(node)}\n" for node in ast.parse(code).body if isinstance(node, kinds)
    )


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path)


def test_a_new_project_follows_the_guide_and_handles_each_sign_up_once_at_every_step(
    application: Application,
) -> None:
    for block in blocks():
        application.apply(block)
        if not FILE.match(block.code):
            assert application.run(block) == block.output
            assert sorted(application.sign_up("once@example.com").splitlines()) == [
                "accounts: 1",
                "e-mail to once@example.com",
                "trial for once@example.com",
            ], block.code


def test_the_defects_of_the_signals_exist_before_the_migration_and_not_after(
    application: Application,
) -> None:
    for block in blocks("Constater les défauts"):
        application.apply(block)
    refused_before = application.sign_up("ada@example.com", card="refused")
    failing_before = application.sign_up("grace@example.org")
    for block in blocks(*STEPS):
        application.apply(block)
    refused_after = application.sign_up("ada@example.com", card="refused")
    failing_after = application.sign_up("grace@example.org")

    assert refused_before.endswith("e-mail to ada@example.com\naccounts: 0\n")
    assert refused_after == "trial for ada@example.com\naccounts: 0\n"
    assert failing_before == "trial for grace@example.org\naccounts: 0\n"
    assert failing_after.endswith("e-mail to grace@example.org\naccounts: 1\n")
    assert "@receiver" not in "".join(path.read_text() for path in application.files)
    handlers = application.project.sh("python manage.py list_event_handlers")
    assert "mailing.handlers.email_welcome" in handlers
