"""Change en pastilles les repères ``# (1)`` du code : le bouton « copier » les laisse."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

BLOCK = re.compile(r'<div class="highlight-python .*?</pre>', re.DOTALL)
MARK = re.compile(r'( *)<span class="c1"># \((\d+)\)</span>')
# A reader without our style sheet still reads a comment.
BADGE = r'<span class="callout">\1<i># (</i><span>\2</span><i>)</i></span>'


def draw(html: str) -> str:
    """Dessine les repères de chaque bloc Python, avec les blancs qui les précèdent."""
    return BLOCK.sub(lambda block: MARK.sub(BADGE, block[0]), html)


def draw_page(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _: Any) -> None:
    """Dessine les repères d’une page."""
    if context.get("body"):
        context["body"] = draw(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", draw_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
