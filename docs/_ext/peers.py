"""Les tableaux de ``make bench-register`` : ``{peers}``, qui l’on compare, et ``{growth}``.

Les noms viennent du banc : ils sont traduits, ou du code entre accents graves.
"""

from __future__ import annotations

from typing import Any

from chaos import number as whole
from docutils import nodes
from measures import name_of, number, recorded
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective
from tables import named, paragraph, table

# What a line of the run holds, and the title of its column.
COLUMNS = {
    "speed": "Speed",
    "p50": "Median wait",
    "p99": "99th percentile",
    "publishing": "Publishing",
    "statements": "Statements",
    "commits": "Commits",
    "fsyncs": "`fsync`",
    "wal": "WAL, bytes",
    "misses": "Vain claims",
}


class Peers(SphinxDirective):
    """Une ligne par concurrent : ses rapports à un relais, puis ses comptes par travail."""

    def run(self) -> list[nodes.Node]:
        language = self.config.language
        body = [
            [[named(name_of(line))], *([cell(line.get(key), language)] for key in COLUMNS)]
            for line in recorded(self.env, "register")["contestants"]
        ]
        titles = [_("Executed by"), *(_(title) for title in COLUMNS.values())]
        return [table([[named(title)] for title in titles], body)]


class Growth(SphinxDirective):
    """Une ligne par opération, une colonne par nombre de lignes terminées."""

    def run(self) -> list[nodes.Node]:
        language, run = self.config.language, recorded(self.env, "register")
        titles = [_("Settled rows"), *(whole(size, language) for size in run["sizes"])]
        body = [
            [[named(name_of(line))], *([cell(round(cost), language)] for cost in line["costs"])]
            for line in run["growth"]
        ]
        return [table([[paragraph(title)] for title in titles], body)]


def cell(value: Any, language: str) -> nodes.paragraph:
    """Écrit un compte entier, un rapport, ou ce qui ne se mesure pas."""
    if value is None:
        return paragraph("–")
    return paragraph(
        whole(int(value), language) if value == int(value) else number(value, language)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("peers", Peers)
    app.add_directive("growth", Growth)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
