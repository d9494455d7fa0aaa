"""La dernière exécution enregistrée de ``make demo DEMO=--faults``, dessinée scène par scène.

Une ligne par événement, une colonne par processus. Des boutons radio passent d’une scène à
l’autre, sans script ; sans JavaScript, et sur papier, les scènes se suivent.
"""

from __future__ import annotations

import json
import re
from datetime import date
from html import escape
from pathlib import Path
from typing import Any

from babel.dates import format_date
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective

RUN = Path(__file__).resolve().parents[1] / "_data" / "demo.json"
Event = dict[str, Any]

LANES = {"web": "Web process", "worker": "Worker process", "broker": "Broker"}
SHORT = {
    "commit": "Commit",
    "rollback": "Rollback",
    "worker": "Worker killed",
    "broker": "Broker stopped",
}
TITLES = {
    "commit": "An invoice is approved",
    "rollback": "Something fails in the same transaction",
    "worker": "A worker is killed in the middle of a handler",
    "broker": "The broker stops",
}
# What a line of the story is called here, and the class that colours it.
KINDS = {
    "before commit": ("in the transaction", "synchrone"),
    "COMMIT": ("commit", "synchrone"),
    "ROLLBACK": ("rollback", "annulation"),
    "after commit": ("after the commit", "asynchrone"),
    "KILLED": ("killed", "panne"),
    "STOPPED": ("stopped", "panne"),
    "STARTED": ("started", "bilan"),
    "in the end": ("in the end", "bilan"),
}
TRANSACTION = ("before commit", "COMMIT", "ROLLBACK")
SECOND = 1000
LONG = 5000  # milliseconds: a wait that the drawing shows
IDENTIFIER = re.compile(r"\b([a-z_]+\.)([a-z_]+)\b")


class Demo(SphinxDirective):
    """Toutes les scènes, et de quoi passer de l’une à l’autre."""

    def run(self) -> list[nodes.Node]:
        """Renvoie le dessin."""
        self.env.note_dependency(str(RUN))
        run = json.loads(RUN.read_text(encoding="utf-8"))
        language = self.config.language
        day = format_date(date.fromisoformat(run["date"]), "long", locale=language)
        told = _("Recorded on {day}, with Python {python}.").format(day=day, python=run["python"])
        scenes = list(enumerate(run["scenes"], start=1))
        html = (
            f'<figure class="demo"><fieldset class="etapes">'
            f'<legend class="for-the-ear">{escape(_("Scene"))}</legend>'
            f"{''.join(tab(number, one['scene']) for number, one in scenes)}</fieldset>"
            f"{''.join(scene(number, one, language) for number, one in scenes)}"
            f"<figcaption>{escape(told)}</figcaption></figure>"
        )
        return [nodes.raw("", html, format="html")]


def tab(number: int, key: str) -> str:
    """Dessine le bouton d’une scène."""
    checked = " checked" if number == 1 else ""
    return (
        f'<label><input type="radio" name="scene" value="{key}"{checked}>'
        f"<span>{number}</span> {escape(_(SHORT[key]))}</label>"
    )


def scene(number: int, one: dict[str, Any], language: str) -> str:
    """Dessine une scène : son titre, le nom des colonnes, ses événements."""
    key, events = one["scene"], one["events"]
    lanes = [name for name in LANES if name in {lane(event) for event in events}]
    lanes = lanes if "worker" in lanes else [*lanes, "worker"]  # that it has nothing to do shows
    names = "".join(f"<span>{escape(_(LANES[name]))}</span>" for name in lanes)
    drawn = "".join(
        line(event, before, language)
        for before, event in zip([None, *events], events, strict=False)
    )
    return (
        f'<div class="scene scene-{key} voies-{len(lanes)}">'
        f"<h3>{number}. {escape(_(TITLES[key]))}</h3>"
        f'<p class="noms" aria-hidden="true">{names}</p><ol>{drawn}</ol></div>'
    )


def line(event: Event, before: Event | None, language: str) -> str:
    """Dessine un événement ; *before* est celui d’avant, dont il peut être la suite."""
    name, kind = KINDS[event["when"]]
    joined = before and all(one["when"] in TRANSACTION for one in (event, before))
    late = before and event["at"] - before["at"] > LONG
    repeated = joined and before and before["when"] == event["when"]
    who = escape(_(LANES[lane(event)]))
    when = moment(event["at"], language)
    classes = ["voie-" + lane(event), *(["suite"] if joined else []), *(["tard"] if late else [])]
    chip = "" if repeated else f'<b class="{kind}">{escape(_(name))}</b> '
    what = IDENTIFIER.sub(r"<code>\1<wbr>\2</code>", escape(_(event["what"])))
    return (
        f'<li class="{" ".join(classes)}"><span class="heure">{when}</span>'
        f'<span class="fait fait-{kind}"><span class="qui">{who}</span> '
        f"{chip}{what}</span></li>"
    )


def lane(event: Event) -> str:
    """Renvoie la colonne d’un processus ; le relais parle au broker, et se tient dans la sienne."""
    return "broker" if event["process"] == "relay" else str(event["process"])


def moment(milliseconds: int, language: str) -> str:
    """Écrit le temps passé depuis le début de la scène."""
    if milliseconds < SECOND:
        return f"{milliseconds}\N{NO-BREAK SPACE}ms"
    seconds = f"{milliseconds / SECOND:.1f}"
    return f"{seconds.replace('.', ',') if language == 'fr' else seconds}\N{NO-BREAK SPACE}s"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("demo", Demo)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
