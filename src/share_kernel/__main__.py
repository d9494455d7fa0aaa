"""Copie le noyau partagé dans un projet, ou met à jour la copie : ``python <ce dossier> cible``.

Le même fichier, à la racine de l’archive, fait de celle-ci une commande. Il n’importe que la
bibliothèque standard : rien d’autre n’est encore installé quand il s’exécute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import keyword
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

MANIFEST = "COPIED.json"
# Flake8, pylint, isort, Black and mypy leave alone a file that begins so; Ruff would regret it.
HEADER = """\
# Copied from share_kernel {version}: the copy command updates it, and refuses if you changed it.
# ruff: noqa
# flake8: noqa
# pylint: skip-file
# isort: skip_file
# mypy: ignore-errors
# fmt: off
"""
_HEADER_LINES = HEADER.count("\n")
RUFF = """\
# The copy command keeps this folder: nothing here is yours to correct.
[lint]
select = []

[format]
exclude = ["*"]
"""


class Refused(Exception):
    """Ce qui empêche de copier : une ligne, qui dit quoi faire."""


def main(arguments: list[str] | None = None) -> int:
    """Lit la ligne de commande, copie, et dit la suite."""
    parser = argparse.ArgumentParser(
        prog="share_kernel", description="Copies share_kernel into a project, or updates a copy."
    )
    parser.add_argument("target", type=Path, help="the folder to make, such as common/share_kernel")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, no more")
    parser.add_argument("--force", action="store_true", help="overwrite whatever is there")
    options = parser.parse_args(arguments)
    try:
        new = prepared(source_files())
        is_update = copy(new, options.target, force=options.force, dry_run=options.dry_run)
    except (Refused, OSError) as error:
        print(f"Nothing was changed: {error}", file=sys.stderr)
        return 1
    if not options.dry_run:
        print(next_steps(package_of(options.target), is_update=is_update))
    return 0


def source_files() -> dict[str, bytes]:
    """Renvoie chaque fichier du noyau, par son chemin, du dossier ou de l’archive où l’on est."""
    here = Path(__file__).parent
    if zipfile.is_zipfile(here):
        with zipfile.ZipFile(here) as archive:
            names = [name for name in archive.namelist() if name.startswith("share_kernel/")]
            return {name.partition("/")[2]: archive.read(name) for name in names}
    paths = [path for path in here.rglob("*") if path.is_file() and is_kept(path.relative_to(here))]
    return {path.relative_to(here).as_posix(): path.read_bytes() for path in paths}


def is_kept(path: Path | PurePosixPath) -> bool:
    """Écarte ce que Python ou la copie produisent."""
    return (
        "__pycache__" not in path.parts
        and path.suffix != ".pyc"
        and path.name not in (MANIFEST, "ruff.toml")
    )


def prepared(files: dict[str, bytes]) -> dict[str, bytes]:
    """Met l’en-tête à chaque module, et ajoute ce que la copie a de plus."""
    header = HEADER.format(version=version_in(files))
    new = {
        name: header.encode() + without_header(content) if name.endswith(".py") else content
        for name, content in files.items()
    }
    new["ruff.toml"] = RUFF.encode()
    manifest = {"version": version_in(files), "files": {n: digest(new[n]) for n in sorted(new)}}
    return new | {MANIFEST: json.dumps(manifest, indent=1).encode() + b"\n"}


def without_header(content: bytes) -> bytes:
    """Retire l’en-tête d’une copie dont on fait une copie."""
    is_copy = content.startswith(HEADER.partition("{")[0].encode())
    return b"".join(content.splitlines(keepends=True)[_HEADER_LINES:]) if is_copy else content


def version_in(files: dict[str, bytes]) -> str:
    """Renvoie la version que dit ``version.py``."""
    return files["version.py"].decode().split('"')[-2]


def digest(content: bytes) -> str:
    """Renvoie l’empreinte d’un fichier, la même quelles que soient ses fins de ligne."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def copy(new: dict[str, bytes], target: Path, *, force: bool, dry_run: bool) -> bool:
    """Écrit la copie d’un seul geste, ou lève :class:`Refused` ; dit si elle existait."""
    refuse_wrong_names(target)
    old = files_of(target)
    if old and not force:
        refuse_what_would_be_lost(old, new, target)
    show_changes(old, new)
    if not dry_run:
        write(new, target)
    return bool(old)


def refuse_wrong_names(target: Path) -> None:
    """Un paquet que Python ne saurait importer, ou un dossier parent qui n’existe pas."""
    names = [target.name] if target.is_absolute() else [p for p in target.parts if p != ".."]
    for name in names or [""]:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise Refused(f"{name!r} cannot be imported. Use letters, digits and underscores.")
    if not target.parent.parent.is_dir():
        raise Refused(f"{target.parent.parent} does not exist. Run this from the project's root.")
    for place in (target, target.parent):
        if place.exists() and not place.is_dir():
            raise Refused(f"{place} is a file. Choose another name.")


def files_of(target: Path) -> dict[str, bytes]:
    """Renvoie ce que contient déjà la cible."""
    paths = [p for p in target.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in paths}


def refuse_what_would_be_lost(old: dict[str, bytes], new: dict[str, bytes], target: Path) -> None:
    """Un dossier qui n’est pas une copie, une copie plus récente, un fichier changé ou ajouté."""
    try:
        manifest = json.loads(old[MANIFEST])
        version, digests = str(manifest["version"]), dict(manifest["files"])
    except (LookupError, ValueError, TypeError):
        raise Refused(
            f"{target} was not made by this command. Choose another name, or pass --force."
        ) from None
    if as_numbers(version) > as_numbers(version_in(new)):
        raise Refused(
            f"{target} is {version}, newer than {version_in(new)}. Take a newer archive or clone."
        )
    mine = {name for name in old if name != MANIFEST and digests.get(name) != digest(old[name])}
    if lost := sorted(mine | (digests.keys() - old.keys())):
        more = f" and {len(lost) - 1} more" if lost[1:] else ""
        raise Refused(
            f"you changed {lost[0]}{more} in {target}. "
            "Move your changes out of that folder, or pass --force to lose them."
        )


def as_numbers(version: str) -> list[int]:
    """Rend comparables deux versions."""
    return [int(number) for number in re.findall(r"\d+", version)]


def show_changes(old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Affiche un fichier par ligne : nouveau, changé ou retiré."""
    changed = [name for name in sorted({*old, *new} - {MANIFEST}) if old.get(name) != new.get(name)]
    for name in changed:
        print("+-~"[(name in old) + (name in old and name in new)], name)
    print(f"{len(changed)} files to change, {len(new) - 1} in all.")


def write(new: dict[str, bytes], target: Path) -> None:
    """Écrit à côté, puis met à la place : une copie à moitié écrite n’existe jamais."""
    has_parent = target.parent.exists()
    beside, former = (target.with_name(f".{target.name}.{end}") for end in ("new", "old"))
    try:
        target.parent.mkdir(exist_ok=True)
        if not has_parent:
            (target.parent / "__init__.py").touch()
        remove([beside, former])
        for name, content in new.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(content)
        if target.exists():
            target.rename(former)
        try:
            beside.rename(target)
        except OSError:
            if former.exists():
                former.rename(target)
            raise
    except OSError:
        remove([beside] if has_parent else [target.parent])
        raise
    remove([former])


def remove(folders: Iterable[Path]) -> None:
    """Efface des dossiers, s’ils existent."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def package_of(target: Path) -> str:
    """Renvoie le nom sous lequel la copie s’importe, depuis le dossier courant si elle y est."""
    path = Path(os.path.abspath(target))  # noqa: PTH100  (resolve() would follow a symbolic link)
    if path.is_relative_to(Path.cwd()):
        return ".".join(path.relative_to(Path.cwd()).parts)
    return f"{path.parent.name}.{path.name}"


def next_steps(package: str, *, is_update: bool) -> str:
    """Renvoie les deux gestes qui restent."""
    first = (
        "Read what changed: the changelog of the site says it."
        if is_update
        else f'Add "{package}" to INSTALLED_APPS.'
    )
    return f"\n1. {first}\n2. Run python manage.py check"


if __name__ == "__main__":
    sys.exit(main())
