"""Le tableau de la dernière exécution de ``make chaos``, lu dans ``docs/_data/chaos.json``.

Les lignes portent le nom d’une mesure, le même dans les deux langues.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective

RUN = Path(__file__).resolve().parents[1] / "_data" / "chaos.json"
MEASURES = ("orders", "deliveries", "effects", "dead", "lost", "phantom", "duplicates")


class Chaos(SphinxDirective):
    """Une colonne par pile, une ligne par mesure."""

    def run(self) -> list[nodes.Node]:
        """Renvoie le tableau, ou une phrase si rien n’est enregistré."""
        self.env.note_dependency(str(RUN))
        if not RUN.exists():
            return [text(_("No run of make chaos is recorded yet."))]
        result = json.loads(RUN.read_text(encoding="utf-8"))
        stacks = result["stacks"]

        def count(value: int) -> str:
            return number(value, self.config.language)

        rows = [
            ["seconds", *(f"{stack['seconds']:.0f}" for stack in stacks)],
            *(
                [f"faults.{victim}", *(count(stack["faults"].get(victim, 0)) for stack in stacks)]
                for victim in sorted({name for stack in stacks for name in stack["faults"]})
            ),
            *([name, *(count(stack[name]) for stack in stacks)] for name in MEASURES),
        ]
        header = ["stack", *(stack["name"] for stack in stacks)]
        return [table(header, rows), text(f"date: {result['date']}, seed: {result['seed']}")]


def number(value: int, language: str) -> str:
    """Écrit un nombre comme dans cette langue : ``1 085`` en français, ``1,085`` en anglais."""
    return f"{value:,}".replace(",", "\u00a0" if language == "fr" else ",")


def text(content: str) -> nodes.paragraph:
    """Renvoie un paragraphe que les catalogues ignorent : il change à chaque exécution."""
    return nodes.paragraph("", content, translatable=False)


def table(header: list[str], rows: list[list[str]]) -> nodes.table:
    """Construit un tableau ; la première colonne nomme les mesures."""
    group = nodes.tgroup("", cols=len(header))
    group += [nodes.colspec("", colwidth=1) for _column in header]
    group += nodes.thead("", table_row(header))
    group += nodes.tbody("", *(table_row(row, is_named=True) for row in rows))
    return nodes.table("", group)


def table_row(cells: list[str], *, is_named: bool = False) -> nodes.row:
    """Construit une ligne ; sa première cellule est du code si elle nomme une mesure."""
    row = nodes.row()
    for position, cell in enumerate(cells):
        content: Any = text(cell)
        if is_named and position == 0:
            content = nodes.paragraph("", "", nodes.literal("", cell), translatable=False)
        row += nodes.entry("", content)
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("chaos", Chaos)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
