"""Change en pastilles les repères ``# (1)`` du code, que le bouton « copier » laisse."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

# A Python block, its output if it has one, and the class of a list just below.
BLOCK = re.compile(
    r'<div class="(?:live )?highlight-python3? [^>]*>.*?</pre>(?:\s*</div>){2}\s*'
    r'(?:<div class="highlight-text .*?</pre>(?:\s*</div>){2}\s*)?'
    r'(<ol class="arabic)?',
    re.DOTALL,
)
MARK = re.compile(r'( *)<span class="c1"># \((\d+)\)</span>')
# Without our style sheet, a mark is still a comment.
BADGE = r'<span class="callout">\1<i># (</i><span>\2</span><i>)</i></span>'


def draw(page: str) -> str:
    """Dessine les repères, avec les blancs qui les précèdent, et les numéros de leur liste."""
    return BLOCK.sub(_draw_block, page)


def _draw_block(block: re.Match[str]) -> str:
    drawn, marks = MARK.subn(BADGE, block[0])
    if marks and block[1]:
        return f"{drawn.removesuffix('arabic')}callouts"
    return drawn


def draw_page(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _: Any) -> None:
    """Dessine les repères d’une page."""
    if context.get("body"):
        context["body"] = draw(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", draw_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
