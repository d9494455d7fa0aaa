"""Compile et allège, dans Pyodide même : une page démarre alors en deux secondes, et non en trente.

Retire les docstrings, et ce dont aucune page ne peut se servir.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import marshal
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

UNUSED = re.compile(
    r"^django/contrib/(?!auth/|contenttypes/|messages/|sessions/|staticfiles/|__init__)"
    r"|^django/contrib/\w+/(locale|templates|static|jinja2)/|common-passwords"
    r"|^django/.*/(templates|jinja2|static)/|^django/db/backends/(mysql|oracle|postgresql)/"
    r"|^django/conf/(project|app)_template/|^django/conf/locale/(?!(fr|en)/|__init__)"
    r"|^django/test/selenium|\.(pyi|po|html|css|js|txt-tpl)$"
    r"|\.dist-info/(RECORD|licenses|WHEEL|entry_points|top_level|INSTALLER|AUTHORS)"
    r"|^tzdata/zoneinfo/(?!__init__|UTC$|Europe/(__init__|Paris$))|^tzdata/zones|^sqlparse/__main__"
)
# Not asyncio.unix_events: without it Pyodide itself stops.
UNUSED_LIBRARY = re.compile(
    r"^(turtle|idlelib|tkinter|lib2to3|ensurepip|venv|curses|pydoc_data|turtledemo|test/|dbm/"
    r"|_pyrepl|mailbox|imaplib|poplib|ftplib|this|antigravity|profiling|pstats|cProfile|profile\."
    r"|xmlrpc|webbrowser|pty\.|tabnanny|trace\.|zipapp|pyclbr|modulefinder"
    r"|asyncio/(windows|proactor)|_pydecimal|ctypes/macholib|wave|_osx|_aix|_ios|_android|_apple"
    r"|nturl|plistlib|sqlite3/__main__"
    r"|encodings/(cp(?!437|1252)|mac_|iso8859|big5|euc|gb|hz|johab|koi8|shift|tis|ptcp|hp_|palmos|kz))"
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Lit les fichiers d’une archive."""
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            for info in tar:
                if content := tar.extractfile(info):
                    yield info.name, content.read()
    else:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith("/"):
                    yield name, archive.read(name)


def compiled(source: bytes, name: str) -> bytes:
    """Renvoie un ``.pyc`` sans docstrings, que Python ne compare à aucune date."""
    tree = ast.parse(source, name)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]
    code = compile(tree, name, "exec", dont_inherit=True)
    unchecked = (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + unchecked + marshal.dumps(code)


def packed(path: Path, unused: re.Pattern[str], root: str) -> Iterator[tuple[str, bytes]]:
    """Renvoie ce que la page garde d’une archive, compilé."""
    for name, data in members(path):
        if unused.search(name):
            continue
        if name.endswith(".py"):
            yield f"{name}c", compiled(data, root + name)
        else:
            yield name, data


def main() -> None:
    out = Path("/out")
    out.mkdir()
    # Stored: one compression around the whole archive beats one for each file.
    with zipfile.ZipFile(out / "library.zip", "w", zipfile.ZIP_STORED) as archive:
        root = "/lib/python314.zip/"
        for name, data in sorted(packed(Path("/library.zip"), UNUSED_LIBRARY, root)):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    with tarfile.open(out / "site.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(Path("/archives").iterdir()):
            for name, data in sorted(packed(path, UNUSED, "/site/")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


main()
