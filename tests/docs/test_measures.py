"""La page des performances montre la mesure enregistrée, et elle seule."""

import html
import json
import re
from datetime import date
from typing import Any

import pytest
from babel.dates import format_date
from packaging.requirements import Requirement

from .pages import DOCS, ROOT, built

RUN = json.loads((DOCS / "_data" / "bench.json").read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = [row for rows in RUN["groups"].values() for row in rows]
PLOTTED = [row for name in ("publish", "convert") for row in RUN["groups"][name]]
REGISTER = json.loads((DOCS / "_data" / "bench-register.json").read_text(encoding="utf-8"))
LIVE = json.loads((DOCS / "_data" / "bench-live.json").read_text(encoding="utf-8"))
SOURCE = (DOCS / "explications" / "performances.md").read_text(encoding="utf-8")
PLOT = re.compile(r"<svg role=\"img\".*?</svg>(?=<svg role|</div>)", re.DOTALL)

both = pytest.mark.parametrize("language", ["fr", "en"])


def page(language: str) -> str:
    return built(language, "explications/performances")


def plots(language: str) -> list[str]:
    return PLOT.findall(page(language))


def shown(value: float, language: str) -> str:
    """Écrit un nombre à trois chiffres, comme on le lit dans cette langue."""
    text = f"{value:#.3g}".rstrip(".")
    return text.replace(".", "," if language == "fr" else ".")


def bound(row: dict[str, Any], language: str) -> str:
    sign = "≥" if row.get("at_least") else "≤"
    return f"{sign} {row['target']:g}".replace(".", "," if language == "fr" else ".")


def text_of(markup: str) -> str:
    """Renvoie le texte d’un fragment ; toute espace, même insécable, y devient une espace."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def tables(language: str) -> list[list[list[str]]]:
    """Renvoie les cellules de chaque tableau de la page."""
    return [
        [
            [text_of(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
            for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table.*?</table>", page(language), re.DOTALL)
    ]


@both
def test_every_name_is_in_the_language_of_the_page(language: str) -> None:
    text = text_of(page(language))
    rows = [*ROWS, *LIVE["groups"]["live"], *REGISTER["groups"]["register"]]
    prose = {name for row in rows for name in (row["what"], row["against"]) if "`" not in name}

    assert prose
    assert {name for name in prose if name in text} == (prose if language == "en" else set())


@both
def test_the_first_table_shows_every_publisher(language: str) -> None:
    first = tables(language)[0]

    ratios = [row["ratio"] for row in RUN["groups"]["publish"]]
    by_publisher = [ratios[position :: len(ratios) // 4] for position in range(len(ratios) // 4)]
    assert first[0][1:] == ["0", "1", "10", "100"]
    assert [row[1:] for row in first[1:]] == [
        [shown(ratio, language) for ratio in of_one] for of_one in by_publisher
    ]


@both
@pytest.mark.parametrize(
    ("position", "rows"),
    [(-1, ROWS), (-2, REGISTER["groups"]["register"]), (1, LIVE["groups"]["live"])],
)
def test_a_table_shows_every_target_and_whether_it_is_met(
    language: str, position: int, rows: list[dict[str, Any]]
) -> None:
    last = tables(language)[position]
    words = {"met": "tenue", "missed": "manquée"} if language == "fr" else {}

    assert [row[1:] for row in last[1:]] == [
        [shown(row["ratio"], language), f"{bound(row, language)} ({word})"]
        for row in rows
        if row["target"] is not None
        for word in [words.get(row["verdict"], row["verdict"])]
    ]


def test_a_verdict_is_the_one_of_the_ratio() -> None:
    for row in ROWS:
        if row["target"] is not None:
            assert row["verdict"] == ("met" if row["ratio"] <= row["target"] else "missed")


@both
def test_a_figure_in_a_sentence_is_the_recorded_one(language: str) -> None:
    by_key = {row["key"]: row["ratio"] for row in ROWS}
    for line in REGISTER["contestants"]:
        by_key |= {f"{line['key']}.{name}": value for name, value in line.items()}
    prose = text_of(page(language))
    words = {"fr": "fois", "en": "times"}[language]

    for key in re.findall(r"\{ratio\}`([^`]+)`", SOURCE):
        assert f" {shown(by_key[key], language)} {words}" in prose, key
    for key in re.findall(r"\{inverse\}`([^`]+)`", SOURCE):
        assert f" {1 / by_key[key]:.0f} {words}" in prose, key


def test_no_sentence_holds_a_figure_typed_by_hand() -> None:
    prose = re.sub(r"^```.*?^```$|`[^`]*`|\]\([^)]*\)", "", SOURCE, flags=re.DOTALL | re.MULTILINE)

    assert set(re.findall(r"\d+", prose)) <= {"1", "4"}  # how to read a ratio


@both
def test_a_plot_has_one_mark_and_one_label_for_each_measure(language: str) -> None:
    drawn = "".join(plots(language))
    labels = [text_of(label) for label in re.findall(r"<text x=\"[^\"]+\" dx.*?</text>", drawn)]

    assert drawn.count('class="measure"') == len(PLOTTED)
    assert labels == [
        shown(row["ratio"], language) + (f" ({bound(row, language)})" if row["target"] else "")
        for row in PLOTTED
    ]


@both
def test_a_mark_lies_where_its_ratio_says(language: str) -> None:
    """Plus le rapport est grand, plus sa marque est à droite ; l’échelle est une par groupe."""
    for name in ("publish", "convert"):
        group = [plot for plot in plots(language) if f'id="{name}-' in plot]
        marks = re.findall(r"(?:<circle class=\"measure\" cx|<svg x)=\"([\d.]+)%\"", "".join(group))
        places = [float(mark) for mark in marks]
        ratios = [row["ratio"] for row in RUN["groups"][name]]
        ordered = sorted(zip(ratios, places, strict=True))
        assert [place for _, place in ordered] == sorted(places)
        assert min(places) >= 40
        assert max(places) <= 90


@both
def test_a_plot_has_a_text_alternative_with_its_values(language: str) -> None:
    found = plots(language)

    assert len(found) == 6
    told = []
    for plot in found:
        names = re.search(r'aria-labelledby="(\S+) (\S+)"', plot)
        assert names
        title = re.search(rf'<title id="{names[1]}">([^<]+)</title>', plot)
        desc = re.search(rf'<desc id="{names[2]}">([^<]+)</desc>', plot)
        assert title
        assert desc
        assert "1 = " in title[1]
        told.append(desc[1])
    said = " ".join(told)
    values = re.findall(r" ([\d.,]+)\.(?: |$)", said)
    assert values == [shown(row["ratio"], language) for row in PLOTTED]


def test_the_names_are_translated() -> None:
    assert "un événement asynchrone, avant le broker" in page("fr")
    assert "an async event, before the broker" not in page("fr")
    assert "an async event, before the broker" in page("en")


@both
def test_a_plot_takes_its_colours_from_the_page(language: str) -> None:
    """Sinon il disparaîtrait en mode sombre."""
    css = (DOCS / "_static" / "site.css").read_text(encoding="utf-8")
    rules = "\n".join(line for line in css.splitlines() if line.startswith(".plot"))
    painted = re.findall(r'(?:fill|stroke|color|stop-color)="([^"]+)"', "".join(plots(language)))
    painted += re.findall(r"(?:fill|stroke|color): ([^;]+);", rules)

    assert painted
    assert {re.sub(r"var\(--color-[\w-]+\)", "var", value) for value in painted} <= {
        "currentColor",
        "var",
    }
    assert "style=" not in "".join(plots(language))


@both
def test_a_plot_keeps_its_text_readable_on_a_phone(language: str) -> None:
    """Rien ne réduit le dessin : sa largeur suit la page, ses caractères gardent leur taille."""
    for plot in plots(language):
        assert 'width="100%"' in plot
        assert "viewBox" not in plot
        assert min(map(float, re.findall(r'font-size="([\d.]+)"', plot))) >= 11


@pytest.mark.parametrize("run", [RUN, REGISTER], ids=["bench", "register"])
def test_the_versions_measured_are_those_of_the_project(run: dict[str, Any]) -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            python = {"python_version": run["python"].rpartition(".")[0]}
            if requirement.marker is None or requirement.marker.evaluate(python):
                pinned[requirement.name] = str(requirement.specifier).removeprefix("==")

    found = {name: pinned.get(name) for name in run["versions"] if name != "PostgreSQL"}
    assert found == {name: run["versions"][name] for name in found}


@both
@pytest.mark.parametrize("run", [RUN, REGISTER], ids=["bench", "register"])
def test_the_page_says_when_and_with_what(language: str, run: dict[str, Any]) -> None:
    prose = text_of(page(language))

    assert format_date(date.fromisoformat(run["date"]), "long", locale=language) in prose
    assert f"Python {run['python']}" in prose
    assert f"{run['rounds']} {'tours' if language == 'fr' else 'rounds'}" in prose
    for name, version in run["versions"].items():
        assert f"{name} {version}" in prose


def test_the_recorded_run_is_complete() -> None:
    assert RUN["rounds"] >= 60
    assert len(RUN["groups"]["publish"]) == 24
    assert [row["key"] for row in RUN["groups"]["redis"]] == ["thousand", "durable"]
