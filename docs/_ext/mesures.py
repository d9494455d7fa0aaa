"""Les mesures de la dernière exécution enregistrée de ``make bench``, dans une page.

``{mesures} groupe`` en fait un tableau, ``{graphique} groupe`` un dessin, ``{conditions}`` la
phrase qui dit ce qui tournait ; les rôles ``{mesure}`` et ``{inverse}`` citent un rapport par
sa clé. Les noms viennent du banc : ils sont traduits, ou du code entre accents graves.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import date
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from babel.dates import format_date
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective, SphinxRole

RUN = Path(__file__).resolve().parents[1] / "_data" / "bench.json"
Row = dict[str, Any]

# One panel of a plot. Widths are percentages and heights pixels: the text keeps its size on a
# phone, where a drawing scaled as a whole would shrink it.
LINE, TITLE, AXIS = 22, 26, 18  # pixels
NAMES_END, LEFT, RIGHT = 40.0, 43.0, 84.0  # percentages; a value is written right of its mark


def recorded(env: Any) -> dict[str, Any]:
    """Lit l’exécution enregistrée ; la page en dépend."""
    env.note_dependency(str(RUN))
    run: dict[str, Any] = json.loads(RUN.read_text(encoding="utf-8"))
    return run


def find(run: dict[str, Any], key: str) -> Row:
    """Renvoie la mesure de cette clé."""
    rows = {row["key"]: row for group in run["groups"].values() for row in group}
    if key not in rows:
        raise ExtensionError(f"bench.json has no measure {key!r}, only: {', '.join(rows)}")
    return rows[key]


def number(value: float, language: str) -> str:
    """Écrit trois chiffres significatifs, avec la virgule du français."""
    text = f"{value:.3g}"
    return text.replace(".", ",") if language == "fr" else text


def target(row: Row, language: str) -> str:
    """Écrit la borne d’un rapport."""
    return f"≤\N{NO-BREAK SPACE}{number(row['target'], language)}"


def label(text: str) -> str:
    """Renvoie un nom traduit, sans son balisage."""
    return _(text).replace("`", "")


def handlers(row: Row) -> str:
    """Renvoie le nombre de handlers que dit une clé comme ``publish-10``."""
    found = re.search(r"-(\d+)$", row["key"])
    return found[1] if found else ""


class Measure(SphinxRole):
    """Un rapport, cité dans une phrase."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        ratio = find(recorded(self.env), self.text)["ratio"]
        return [nodes.Text(number(ratio, self.config.language))], []


class Inverse(SphinxRole):
    """Combien de fois moins, au lieu d’un rapport plus petit que un."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.Text(f"{1 / find(recorded(self.env), self.text)['ratio']:.0f}")], []


class Conditions(SphinxDirective):
    """Quand la mesure a eu lieu, et avec quelles versions."""

    def run(self) -> list[nodes.Node]:
        run = recorded(self.env)
        day = format_date(date.fromisoformat(run["date"]), "long", locale=self.config.language)
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        sentence = _("Recorded on {day}, {rounds} rounds, with Python {python}, {versions}.")
        facts = {name: run[name] for name in ("rounds", "python")}
        return [paragraph(sentence.format(day=day, versions=versions, **facts))]


class Measures(SphinxDirective):
    """Le tableau de quelques groupes ; par nombre de handlers s’ils en ont un."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        groups = recorded(self.env)["groups"]
        rows = [row for name in self.arguments[0].split() for row in groups[name]]
        make = by_handlers if handlers(rows[0]) else one_by_one
        return [make(rows, self.config.language)]


def one_by_one(rows: list[Row], language: str) -> nodes.table:
    """Construit un tableau d’une ligne par mesure."""
    header = [_("Measure"), _("Compared with"), _("Ratio"), _("Target")]
    return table(
        [paragraph(text) for text in header],
        [
            [
                named(row["what"]),
                named(row["against"]),
                paragraph(number(row["ratio"], language)),
                verdict(row, language),
            ]
            for row in rows
        ],
    )


def by_handlers(rows: list[Row], language: str) -> nodes.table:
    """Construit un tableau d’une colonne par nombre de handlers."""
    columns = list(dict.fromkeys(map(handlers, rows)))
    body = [
        [named(what), *(paragraph(number(row["ratio"], language)) for row in of_one)]
        for what, of_one in gathered(rows, "what")
    ]
    ours = [row for row in rows if row["target"] is not None]
    goals = [paragraph(_("Target of the bus")), *(verdict(row, language) for row in ours)]
    return table([paragraph(text) for text in [_("Handlers"), *columns]], [*body, goals])


def gathered(rows: Iterable[Row], field: str) -> list[tuple[str, list[Row]]]:
    """Réunit les mesures de même nom, dans l’ordre où elles apparaissent."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[field], []).append(row)
    return list(found.items())


def verdict(row: Row, language: str) -> nodes.paragraph:
    """Écrit la borne et dit si elle est tenue ; rien pour ce qui sert de comparaison."""
    if row["target"] is None:
        return paragraph("")
    if row["verdict"] == "met":
        return paragraph(f"{target(row, language)} ({_('met')})")
    missed = nodes.strong("", f"({_('missed')})")
    return nodes.paragraph("", f"{target(row, language)} ", missed, translatable=False)


def named(text: str) -> nodes.paragraph:
    """Écrit un nom traduit ; ce qui est entre accents graves est du code."""
    parts = [
        nodes.literal("", part) if position % 2 else nodes.Text(part)
        for position, part in enumerate(_(text).split("`"))
        if part
    ]
    return nodes.paragraph("", "", *parts, translatable=False)


def paragraph(text: str) -> nodes.paragraph:
    """Renvoie un paragraphe que les catalogues ignorent : il change à chaque exécution."""
    return nodes.paragraph("", text, translatable=False)


def table(header: list[nodes.Node], rows: list[list[nodes.Node]]) -> nodes.table:
    """Construit un tableau dont la première colonne nomme les lignes."""
    group = nodes.tgroup("", cols=len(header))
    group += [
        nodes.colspec("", colwidth=1, **({} if n else {"stub": 1})) for n in range(len(header))
    ]
    group += nodes.thead("", _table_row(header))
    group += nodes.tbody("", *map(_table_row, rows))
    return nodes.table("", group)


def _table_row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


class Plot(SphinxDirective):
    """Un dessin par point de comparaison, tous à la même échelle, logarithmique."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        rows = recorded(self.env)["groups"][name]
        ratios = [1.0, *(row["ratio"] for row in rows)]
        scale = Scale(min(ratios), max(ratios))
        together = groupby(rows, lambda row: (row["against"], handlers(row)))
        panels = [
            panel(list(of_one), scale, f"{name}-{position}", self.config.language)
            for position, (_key, of_one) in enumerate(together)
        ]
        return [nodes.raw("", f'<div class="graphique">{"".join(panels)}</div>', format="html")]


class Scale:
    """Où un rapport se place, en pourcentage de la largeur."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, value: float) -> str:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return f"{LEFT + part * (RIGHT - LEFT):.1f}%"


def panel(rows: list[Row], scale: Scale, name: str, language: str) -> str:
    """Dessine des mesures comparées à la même chose."""
    reference = label(rows[0]["against"])
    title = f"1 = {reference}"
    if handlers(rows[0]):
        title = f"{_('Handlers:')} {handlers(rows[0])} ({title})"
    told = " ".join(f"{label(row['what'])} {number(row['ratio'], language)}." for row in rows)
    bottom = TITLE + LINE * len(rows)
    marks = "".join(
        mark(row, TITLE + LINE * position + LINE // 2, scale, language)
        for position, row in enumerate(rows)
    )
    ticks = "".join(
        f'<line x1="{scale(value)}" x2="{scale(value)}" y1="{TITLE}" y2="{bottom}" '
        'stroke="currentColor" stroke-dasharray="2 3"/>'
        f'<text x="{scale(value)}" y="{bottom + 13}" text-anchor="middle">{value}</text>'
        for value in (1, 10)
        if scale.low <= value <= scale.high
    )
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" width="100%" '
        f'height="{bottom + AXIS}" font-size="12">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(told)}</desc>'
        f'<text y="13" font-weight="bold">{escape(title)}</text>{ticks}{marks}</svg>'
    )


def mark(row: Row, y: int, scale: Scale, language: str) -> str:
    """Dessine une mesure : son nom, sa marque, sa valeur ; la nôtre est pleine et en gras."""
    x, value = scale(row["ratio"]), number(row["ratio"], language)
    shape, style = f'<circle class="mesure" cx="{x}" cy="{y}" r="4"/>', ""
    if row["target"] is not None:
        value += f" ({target(row, language)})"
        diamond = '<path class="mesure" d="M-7 0 0-7 7 0 0 7Z"/>'
        shape = f'<svg x="{x}" y="{y}" overflow="visible">{diamond}</svg>'
        style = ' class="bus" font-weight="bold"'
    return (
        f'<g{style}><line x1="{LEFT}%" x2="{x}" y1="{y}" y2="{y}" stroke="currentColor"/>'
        f'<text x="{NAMES_END}%" y="{y + 4}" text-anchor="end">{escape(label(row["what"]))}</text>'
        f'{shape}<text x="{x}" dx="11" y="{y + 4}">{escape(value)}</text></g>'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("mesure", Measure())
    app.add_role("inverse", Inverse())
    app.add_directive("conditions", Conditions)
    app.add_directive("mesures", Measures)
    app.add_directive("graphique", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
