"""Sélecteur de langue, liens ``hreflang``, description des pages et libellés accessibles."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LANGUAGES = {"fr": "Français", "en": "English"}
DESCRIPTION_LENGTH = 160


def add_languages(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Donne aux gabarits l’adresse de la même page dans chaque langue."""
    site = app.config.html_baseurl.removesuffix(f"{app.config.language}/")
    address = "" if pagename == "index" else f"{pagename}.html"
    context["languages"] = [
        {
            "code": code,
            "name": name,
            "here": code == app.config.language,
            "href": _beside(app, context, pagename, code),
            "absolute": f"{site}{code}/{address}",
        }
        for code, name in LANGUAGES.items()
    ]
    context["site_address"] = site
    if doctree:
        context["description"] = _description(doctree)


def _beside(app: Sphinx, context: dict[str, Any], pagename: str, code: str) -> str:
    """Renvoie l’adresse relative d’une page dans une langue.

    La page 404 est servie à n’importe quelle profondeur : elle mène à l’accueil, sans détour.
    """
    if pagename == "404":
        root = app.config.notfound_urls_prefix.removesuffix(f"{app.config.language}/")
        return f"{root}{code}/index.html"
    return f"{context.get('content_root', './')}../{code}/{pagename}.html"


def _description(doctree: nodes.document) -> str:
    """Renvoie le premier paragraphe, coupé à un mot."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) <= DESCRIPTION_LENGTH:
            return text
        return text[:DESCRIPTION_LENGTH].rsplit(" ", 1)[0] + "…"
    return ""


def fix_headings(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """Donne leur niveau aux légendes de la navigation, que Sphinx annonce comme des titres."""
    make_toctree = context.get("toctree")
    if make_toctree:

        def with_level(**options: Any) -> str:
            html = make_toctree(**options) or ""
            return html.replace('role="heading"', 'role="heading" aria-level="2"')

        context["toctree"] = with_level
    if context.get("body"):
        context["body"] = context["body"].replace(
            'class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_languages)
    app.connect("html-page-context", fix_headings, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
