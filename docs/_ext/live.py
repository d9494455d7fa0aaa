"""Rend exécutables dans la page les blocs Python dont les imports sont dans le moteur."""

from __future__ import annotations

import ast
import json
import sys
from functools import cache
from typing import Any, NamedTuple

import engine
from docutils import nodes
from sphinx.application import Sphinx

HELD = {*engine.PACKAGES, "src", "conf", *sys.stdlib_module_names}


class Names(NamedTuple):
    """Ce qu’un bloc importe, lie et lit."""

    imported: set[str]
    bound: set[str]
    read: set[str]


def names_in(code: str) -> Names:
    """Relève les noms d’un bloc.

    Raises:
        SyntaxError: il est d’un Python plus récent, ou d’un autre langage.
    """
    names = Names(set(), set(), set())
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import():
                names.imported.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(level=0):
                names.imported.add(str(node.module).partition(".")[0])
            case ast.alias():
                names.bound.add((node.asname or node.name).partition(".")[0])
            case ast.Name(ctx=ast.Load()):
                names.read.add(node.id)
            case ast.Name():
                names.bound.add(node.id)
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.bound.add(node.name)
    return names


def live_among(codes: list[str]) -> list[bool]:
    """Dit de chaque bloc d’une page s’il s’exécute avec ce que tient le moteur.

    Un bloc qui a besoin de ce qu’un bloc d’une autre sorte définit ne s’exécute pas non plus.
    """
    missing: set[str] = set()
    found = []
    for code in codes:
        try:
            names = names_in(code)
        except SyntaxError:  # it stays as it is
            found.append(False)
            continue
        is_live = names.imported <= HELD and not names.read & (missing - names.bound)
        missing = missing - names.bound if is_live else missing | names.bound
        found.append(is_live)
    return found


@cache
def size() -> str | None:
    """Renvoie combien de Mo la première exécution télécharge, ou ``None`` sans moteur."""
    if not engine.MANIFEST.exists():
        return None
    manifest = json.loads(engine.MANIFEST.read_text("utf-8"))
    return f"{manifest['total'] / 1e6:.1f}"


def mark(app: Sphinx, doctree: nodes.document, _page: str) -> None:
    """Marque les blocs qui s’exécutent."""
    if size() is None or app.builder.format != "html":
        return
    blocks = [
        block
        for block in doctree.findall(nodes.literal_block)
        if block.get("language") == "python" and not block.get("source")
    ]
    for block, is_live in zip(blocks, live_among([b.astext() for b in blocks]), strict=True):
        if is_live:
            block["classes"].append("live")


def add_script(
    app: Sphinx, page: str, _template: str, _context: dict[str, Any], doctree: Any
) -> None:
    """Ajoute le script aux pages qui ont un bloc à exécuter, et à elles seules."""
    blocks = doctree.findall(nodes.literal_block) if doctree else ()
    if any("live" in block["classes"] for block in blocks):
        options = {"data-page": page.rpartition("/")[2], "data-size": size()}
        app.add_js_file("live.js", defer="defer", **options)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", mark)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
