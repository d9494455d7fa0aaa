"""Ce qui manque au thème pour que chacun lise, et ce que la page ne doit pas demander."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

MARK = (Path(__file__).parents[1] / "_static" / "favicon.svg").read_text(encoding="utf-8").strip()
# The copy button is drawn by site.css: these two sheets would be fetched for it alone.
UNUSED_SHEETS = {"_static/copybutton.css", "_static/styles/furo-extensions.css"}
# Away from the search, they would only light the words searched for, which site.js does.
SEARCH_SCRIPTS = {f"_static/{name}.js" for name in ("doctools", "sphinx_highlight", "translations")}
ICON_TITLE = re.compile(r"(<symbol [^>]*>)\s*<title>[^<]*</title>")
UNUSED_ICON = re.compile(r'\s*<symbol id="svg-(?:pencil|eye)".*?</symbol>', re.DOTALL)
COMMENT = re.compile(r"/\*.*?\*/\n?", re.DOTALL)
EMPTY_HEADER = re.compile(r'<th class="head[^"]*">(?:<p></p>)?</th>')


def head_tables(_app: Sphinx, doctree: nodes.document, _page: str) -> None:
    """Sans titre de colonne, pas d’en-tête ; sans premier titre, la première colonne en sert."""
    for table in doctree.findall(nodes.tgroup):
        head = table.next_node(nodes.thead)
        if head is None:
            continue
        titles = [entry.astext().strip() for entry in head.findall(nodes.entry)]
        if not any(titles):
            table.remove(head)
        elif not titles[0]:
            next(table.findall(nodes.colspec))["stub"] = 1


def without_noise(html: str) -> str:
    """Retire les icônes inutilisées et les titres anglais des autres : chaque bouton a son nom."""
    return ICON_TITLE.sub(r"\1", UNUSED_ICON.sub("", html))


def without(unused: set[str], files: list[Any]) -> list[Any]:
    """Renvoie ce qui, d’une liste de feuilles ou de scripts, sert à la page."""
    return [file for file in files if getattr(file, "filename", file) not in unused]


def tidy(_app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Prépare ce que les gabarits écrivent."""
    context["without_noise"] = without_noise
    context["css_files"] = without(UNUSED_SHEETS, context["css_files"])
    if page != "search":
        context["script_files"] = without(SEARCH_SCRIPTS, context["script_files"])
    context["mark"] = MARK
    if context.get("body"):
        context["body"] = EMPTY_HEADER.sub("<td></td>", context["body"])


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Retire les commentaires de notre feuille de style, que chaque page demande."""
    sheet = Path(app.outdir, "_static", "site.css")
    if exception is None and sheet.is_file():
        sheet.write_text(COMMENT.sub("", sheet.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", head_tables)
    app.connect("html-page-context", tidy, priority=600)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
