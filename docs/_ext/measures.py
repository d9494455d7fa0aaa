"""Les mesures de la dernière exécution enregistrée de ``make bench``, dans une page.

``{plot} groupe`` en fait un dessin, ``{measures} groupe`` un tableau par nombre de handlers,
``{targets}`` le tableau de ce que le bus doit tenir, ``{conditions}`` la phrase qui dit ce qui
tournait ; ``{targets} register`` et ``{conditions} register``, ceux de ``make bench-register``.
Les rôles ``{ratio}`` et ``{inverse}`` citent un rapport par sa clé.
Les noms viennent du banc : ils sont traduits, ou du code entre accents graves.
"""

from __future__ import annotations

import json
import math
import re
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
from tables import named, paragraph, table

DATA = Path(__file__).resolve().parents[1] / "_data"
RUNS = {
    name: DATA / f"{file}.json"
    for name, file in (("bench", "bench"), ("live", "bench-live"), ("register", "bench-register"))
}
Row = dict[str, Any]

# One panel of a plot. Widths are percentages and heights pixels: the text keeps its size on a
# phone, where a drawing scaled as a whole would shrink it.
LINE, TITLE, AXIS = 22, 26, 18  # pixels
NAMES_END, LEFT, RIGHT = 40.0, 43.0, 84.0  # percentages; a value is written right of its mark


def recorded(env: Any, name: str = "bench") -> dict[str, Any]:
    """Lit une exécution enregistrée ; la page en dépend."""
    env.note_dependency(str(RUNS[name]))
    run: dict[str, Any] = json.loads(RUNS[name].read_text(encoding="utf-8"))
    return run


def find(env: Any, key: str) -> float:
    """Renvoie le rapport de cette clé ; ``celery.speed`` est celui d’un concurrent."""
    runs = [recorded(env, name) for name in RUNS]
    rows = [row for run in runs for group in run["groups"].values() for row in group]
    ratios = {row["key"]: row["ratio"] for row in rows}
    for line in runs[-1]["contestants"]:
        ratios |= {f"{line['key']}.{name}": value for name, value in line.items()}
    if key not in ratios:
        raise ExtensionError(f"No measure {key!r} is recorded, only: {', '.join(ratios)}")
    return float(ratios[key])


def number(value: float, language: str) -> str:
    """Écrit un rapport mesuré : trois chiffres significatifs."""
    return localised(f"{value:#.3g}".rstrip("."), language)


def target(row: Row, language: str) -> str:
    """Écrit la borne d’un rapport."""
    sign = "≥" if row.get("at_least") else "≤"
    return localised(f"{sign}\N{NO-BREAK SPACE}{row['target']:.3g}", language)


def localised(text: str, language: str) -> str:
    """Met au français, s’il le faut, la virgule d’un nombre."""
    return text.replace(".", ",") if language == "fr" else text


def handlers(row: Row) -> str:
    """Renvoie le nombre de handlers que dit une clé comme ``publish-10``."""
    found = re.search(r"-(\d+)$", row["key"])
    return found[1] if found else ""


class Ratio(SphinxRole):
    """Un rapport, cité dans une phrase."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.Text(number(find(self.env, self.text), self.config.language))], []


class Inverse(SphinxRole):
    """Combien de fois moins, au lieu d’un rapport plus petit que un."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.Text(f"{1 / find(self.env, self.text):.0f}")], []


class Conditions(SphinxDirective):
    """Quand la mesure a eu lieu, et avec quelles versions."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        run = recorded(self.env, *self.arguments)
        day = format_date(date.fromisoformat(run["date"]), "long", locale=self.config.language)
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        sentence = _("Recorded on {day}, {rounds} rounds, with Python {python}, {versions}.")
        facts = {name: run[name] for name in ("rounds", "python")}
        return [paragraph(sentence.format(day=day, versions=versions, **facts))]


class Measures(SphinxDirective):
    """Un groupe en tableau : une ligne par nom, une colonne par nombre de handlers."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        rows = recorded(self.env)["groups"][self.arguments[0]]
        columns, names = [list(dict.fromkeys(map(of, rows))) for of in (handlers, name_of)]
        header = [[paragraph(text)] for text in [_("Handlers"), *columns]]
        body = [
            [
                [named(name)],
                *(
                    [paragraph(number(row["ratio"], self.config.language))]
                    for row in rows
                    if name_of(row) == name
                ),
            ]
            for name in names
        ]
        return [table(header, body)]


class Targets(SphinxDirective):
    """Tout ce que le bus doit tenir, et s’il le tient."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        language = self.config.language
        groups = recorded(self.env, *self.arguments)["groups"].values()
        body = [
            [
                [named(name_of(row)), named(reference(row))],
                [paragraph(number(row["ratio"], language))],
                [verdict(row, language)],
            ]
            for row in (row for rows in groups for row in rows)
            if row["target"] is not None
        ]
        return [table([[paragraph(_(text))] for text in ("Measure", "Ratio", "Target")], body)]


def name_of(row: Row) -> str:
    """Renvoie le nom, traduit, de ce qui est mesuré."""
    return _(row["what"])


def bare(text: str) -> str:
    """Renvoie un nom sans ses accents graves, pour un dessin."""
    return escape(text.replace("`", ""))


def reference(row: Row) -> str:
    """Dit à quoi le rapport se compare : « 1 = une boucle nue »."""
    text = f"1 = {_(row['against'])}"
    return f"{_('Handlers:')} {handlers(row)} ({text})" if handlers(row) else text


def verdict(row: Row, language: str) -> nodes.paragraph:
    """Écrit la borne, et dit si elle est tenue."""
    if row["verdict"] == "met":
        return paragraph(f"{target(row, language)} ({_('met')})")
    missed = nodes.strong("", f"({_('missed')})")
    return nodes.paragraph("", f"{target(row, language)} ", missed, translatable=False)


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
        return [nodes.raw("", f'<div class="plot">{"".join(panels)}</div>', format="html")]


class Scale:
    """Où un rapport se place, en pourcentage de la largeur."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, value: float) -> str:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return f"{LEFT + part * (RIGHT - LEFT):.1f}%"


def panel(rows: list[Row], scale: Scale, name: str, language: str) -> str:
    """Dessine des mesures comparées à la même chose."""
    title = bare(reference(rows[0]))
    told = " ".join(f"{bare(name_of(row))} {number(row['ratio'], language)}." for row in rows)
    bottom = TITLE + LINE * len(rows)
    marks = "".join(
        mark(row, TITLE + LINE * position + LINE // 2, scale, language)
        for position, row in enumerate(rows)
    )
    ticks = "".join(
        f'<line x1="{scale(value)}" x2="{scale(value)}" y1="{TITLE}" y2="{bottom}" '
        f'stroke="currentColor" stroke-opacity="{1 if value == 1 else 0.4}"/>'
        f'<text x="{scale(value)}" y="{bottom + 13}" text-anchor="middle">{value}</text>'
        for value in (1, 10)
        if scale.low <= value <= scale.high
    )
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" width="100%" '
        f'height="{bottom + AXIS}" font-size="12">'
        f'<title id="{name}-title">{title}</title>'
        f'<desc id="{name}-desc">{told}</desc>'
        f'<text y="13" font-weight="bold">{title}</text>{ticks}{marks}</svg>'
    )


def mark(row: Row, y: int, scale: Scale, language: str) -> str:
    """Dessine une mesure : son nom, sa marque, sa valeur ; la nôtre est pleine et en gras."""
    x, value = scale(row["ratio"]), number(row["ratio"], language)
    shape, style = f'<circle class="measure" cx="{x}" cy="{y}" r="4"/>', ""
    if row["target"] is not None:
        value += f" ({target(row, language)})"
        diamond = '<path class="measure" d="M-7 0 0-7 7 0 0 7Z"/>'
        shape = f'<svg x="{x}" y="{y}" overflow="visible">{diamond}</svg>'
        style = ' class="bus" font-weight="bold"'
    return (
        f'<g{style}><line x1="{LEFT}%" x2="{x}" y1="{y}" y2="{y}" stroke="currentColor"/>'
        f'<text x="{NAMES_END}%" y="{y + 4}" text-anchor="end">{bare(name_of(row))}</text>'
        f'{shape}<text x="{x}" dx="11" y="{y + 4}">{escape(value)}</text></g>'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("ratio", Ratio())
    app.add_role("inverse", Inverse())
    app.add_directive("conditions", Conditions)
    app.add_directive("measures", Measures)
    app.add_directive("targets", Targets)
    app.add_directive("plot", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
