"""Le tableau de la dernière exécution de ``make chaos``, lu dans ``docs/_data/chaos.json``.

Les lignes portent le nom d’une mesure, le même dans les deux langues.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective
from tables import Cells, named, paragraph, table

RUN = Path(__file__).resolve().parents[1] / "_data" / "chaos.json"
MEASURES = (
    "orders",
    "deliveries",
    "effects",
    "dead",
    "late",
    "lost",
    "phantom",
    "duplicates",
    "order_violations",
)


class Chaos(SphinxDirective):
    """Une colonne par pile, une ligne par mesure."""

    def run(self) -> list[nodes.Node]:
        """Renvoie le tableau, ou une phrase si rien n’est enregistré."""
        self.env.note_dependency(str(RUN))
        if not RUN.exists():
            return [paragraph(_("No run of make chaos is recorded yet."))]
        result = json.loads(RUN.read_text(encoding="utf-8"))
        stacks = result["stacks"]

        def count(value: int) -> str:
            return number(value, self.config.language)

        seconds = [f"{stack['seconds']:.0f}" for stack in stacks]
        victims = sorted({name for stack in stacks for name in stack["faults"]})
        rows = [
            row("seconds", seconds),
            *(
                row(f"faults.{victim}", [count(stack["faults"].get(victim, 0)) for stack in stacks])
                for victim in victims
            ),
            *(
                row(name, [count(stack[name]) for stack in stacks])
                for name in MEASURES
                if all(name in stack for stack in stacks)  # a run of before it was counted
            ),
        ]
        header = [[paragraph(text)] for text in ["stack", *(stack["name"] for stack in stacks)]]
        told = f"date: {result['date']}, seed: {result['seed']}"
        return [table(header, rows), paragraph(told)]


def row(name: str, values: list[str]) -> Cells:
    """Écrit une mesure : son nom, qui est du code, et sa valeur pour chaque pile."""
    return [[named(f"`{name}`")], *([paragraph(value)] for value in values)]


def number(value: int, language: str) -> str:
    """Écrit un nombre comme dans cette langue : ``1 085`` en français, ``1,085`` en anglais."""
    return f"{value:,}".replace(",", "\u00a0" if language == "fr" else ",")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("chaos", Chaos)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
