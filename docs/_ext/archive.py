"""L’archive du noyau partagé, une par langue : à copier par sa commande, ou à installer.

``python docs/_ext/archive.py`` les écrit dans ``build/archive/<langue>/share_kernel.zip``.
"""

from __future__ import annotations

import sys
import tomllib
import zipfile
from pathlib import Path

import catalogues
import docstrings
import hosting
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[2]
NAME = "share_kernel.zip"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same sources make the same archive
README = {
    "fr": "# share_kernel {version}\n\nUn bus d’événements du domaine pour Django.\n\n"
    "Copiez-le dans votre projet :\n\n    python share_kernel.zip src/share_kernel\n\n"
    "ou installez-le :\n\n    pip install ./share_kernel.zip\n",
    "en": "# share_kernel {version}\n\nA domain event bus for Django.\n\n"
    "Copy it into your project:\n\n    python share_kernel.zip src/share_kernel\n\n"
    "or install it:\n\n    pip install ./share_kernel.zip\n",
}
PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "share-kernel"
version = "{version}"
description = "{description}"
readme = "README.md"
license = "MIT"
license-files = ["LICENSE"]
requires-python = "{python}"
dependencies = {dependencies}

[project.optional-dependencies]
celery = {celery}

[tool.setuptools.packages.find]
include = ["share_kernel*"]

[tool.setuptools.package-data]
"*" = ["py.typed", "LICENSE", "*.po", "*.mo"]
"""


def write(language: str, path: Path) -> None:
    """Écrit l’archive d’une langue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents(language).items()):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), content, zipfile.ZIP_DEFLATED)


def contents(language: str) -> dict[str, bytes]:
    """Renvoie chaque fichier de l’archive, par son nom."""
    kernel = kernel_in(language)
    version = kernel["version.py"].decode().split('"')[-2]
    return {f"share_kernel/{name}": content for name, content in kernel.items()} | {
        "__main__.py": kernel["__main__.py"],  # so that Python runs the archive
        "LICENSE": kernel["LICENSE"],
        "README.md": README[language].format(version=version).encode(),
        "pyproject.toml": project(language, version).encode(),
    }


def kernel_in(language: str) -> dict[str, bytes]:
    """Renvoie les fichiers du noyau, leurs docstrings dans la langue demandée."""
    paths = [path for path in docstrings.KERNEL.rglob("*") if path.is_file()]
    files = {
        path.relative_to(docstrings.KERNEL).as_posix(): path.read_bytes()
        for path in paths
        if "__pycache__" not in path.parts
    }
    if language == "fr":
        return files
    known = translations()
    return {
        name: docstrings.translated(content.decode(), known.__getitem__).encode()
        if name.endswith(".py")
        else content
        for name, content in files.items()
    }


def translations() -> dict[str, str]:
    """Renvoie tout ce que les catalogues anglais disent d’un texte français.

    Un texte qu’aucun ne traduit reste tel quel : la vérification des catalogues le nomme.
    """
    found = {text: text for text in docstrings.messages()}
    for path in [*catalogues.ENGLISH.glob("modules/*.po"), catalogues.ENGLISH / "docstrings.po"]:
        with path.open("rb") as file:
            found |= {str(m.id): str(m.string) for m in read_po(file) if m.id and m.string}
    return found


def project(language: str, version: str) -> str:
    """Renvoie le ``pyproject.toml`` de l’archive, d’après celui du dépôt."""
    here = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    unused = "dj-database-url"  # by the reference project, not by the kernel
    return PROJECT.format(
        version=version,
        description=README[language].splitlines()[2],
        python=here["requires-python"],
        dependencies=[item for item in here["dependencies"] if not item.startswith(unused)],
        celery=here["optional-dependencies"]["celery"],
    )


def main() -> int:
    """Écrit les archives, et dit où."""
    for language in hosting.LANGUAGES:
        path = ROOT / "build" / "archive" / language / NAME
        write(language, path)
        print(f"Wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
