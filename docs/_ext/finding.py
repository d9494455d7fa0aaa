"""Se repérer : les sections du site et ce que l’on trouve dans chacune."""

from __future__ import annotations

from typing import Any

from metadata import describe
from sphinx.application import Sphinx


def sections(app: Sphinx) -> list[dict[str, str]]:
    """Renvoie la page d’entrée de chaque section, dans l’ordre de la navigation."""
    env = app.env
    return [
        {
            "docname": docname,
            "title": env.titles[docname].astext(),
            "description": describe(env.get_doctree(docname)),
        }
        for docname in env.toctree_includes[app.config.root_doc]
    ]


def add_sections(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doc: Any
) -> None:
    """Donne aux gabarits de quoi mener ailleurs qui s’est perdu : peu de pages le demandent."""
    context["sections"] = lambda: sections(app)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_sections)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
