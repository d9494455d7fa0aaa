"""Sélecteur de langue, liens ``hreflang`` et ordre du glossaire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from hosting import LANGUAGES
from metadata import address, site_of
from search import without_accents
from sphinx import addnodes
from sphinx.application import Sphinx

EVALUATED = "Documentation.addTranslations("
APPLIED = """\
((catalog) => {{
  Object.assign(Documentation.TRANSLATIONS, catalog.messages);
  Documentation.PLURAL_EXPR = (n) => {plural};
  Documentation.LOCALE = catalog.locale;
}})("""


def add_languages(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: nodes.document
) -> None:
    """Donne aux gabarits l’adresse de la même page dans chaque langue."""
    site = site_of(app)
    context["languages"] = [
        {
            "code": code,
            "name": name,
            "here": code == app.config.language,
            "href": switch(site, code, pagename, context.get("content_root", "./")),
            "absolute": address(site, code, pagename),
        }
        for code, name in LANGUAGES.items()
    ]
    context["site_address"] = site


def switch(site: str, code: str, pagename: str, root: str) -> str:
    """Mène à la même page ; la page 404, servie à toute profondeur, mène à l’accueil."""
    if pagename == "404":
        return f"{urlsplit(site).path}{code}/index.html"
    return f"{root}../{code}/{pagename}.html"


def sort_glossary(_app: Sphinx, doctree: nodes.document) -> None:
    """Range le glossaire dans l’ordre de la langue : les termes viennent d’être traduits."""
    for glossary in doctree.findall(addnodes.glossary):
        for entries in glossary.findall(nodes.definition_list):
            entries.children.sort(key=lambda entry: without_accents(_term(entry).lower()))


def _term(entry: nodes.Node) -> str:
    term = entry.next_node(nodes.term)
    return term.astext() if term else ""


def forbid_eval(app: Sphinx, exception: Exception | None) -> None:
    """Écrit la règle du pluriel comme une fonction : Sphinx la ferait évaluer par le navigateur.

    Une politique de sécurité refuse ``new Function``, et le reste de la recherche avec.
    """
    path = Path(app.outdir, "_static", "translations.js")
    if exception or not path.is_file():
        return
    catalog = path.read_text(encoding="utf-8")
    plural = re.search(r'"plural_expr": "([^"]+)"', catalog)
    if plural and catalog.startswith(EVALUATED):
        function = APPLIED.format(plural=plural[1])
        path.write_text(catalog.replace(EVALUATED, function, 1), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", sort_glossary)
    app.connect("html-page-context", add_languages)
    app.connect("build-finished", forbid_eval)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
