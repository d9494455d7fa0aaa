"""La page des performances montre les pairs du registre, et eux seuls décident des chiffres."""

from typing import Any

import pytest

from .test_measures import REGISTER, both, page, shown, tables

PEERS, GROWTH = 2, 3  # the tables of the page, in order
COLUMNS = ("speed", "p50", "p99", "publishing", "statements", "commits", "fsyncs", "wal", "misses")


def cell(value: float | None, language: str) -> str:
    if value is None:
        return "–"
    if value == int(value):
        return f"{int(value):,}".replace(",", " " if language == "fr" else ",")
    return shown(value, language)


@both
def test_every_contestant_has_its_line(language: str) -> None:
    lines = [[cell(one.get(name), language) for name in COLUMNS] for one in REGISTER["contestants"]]

    assert [row[1:] for row in tables(language)[PEERS][1:]] == lines


@both
def test_every_operation_has_its_cost_at_each_size(language: str) -> None:
    header, *body = tables(language)[GROWTH]

    assert header[1:] == [cell(size, language) for size in REGISTER["sizes"]]
    assert [row[1:] for row in body] == [
        [cell(round(cost), language) for cost in line["costs"]] for line in REGISTER["growth"]
    ]


@pytest.mark.parametrize("kind", ["contestants", "growth"])
def test_the_names_are_translated(kind: str) -> None:
    prose = [line["what"] for line in REGISTER[kind] if not line["what"].startswith("`")]
    named: dict[str, Any] = {
        language: [row[0] for table in tables(language)[PEERS : GROWTH + 1] for row in table]
        for language in ("fr", "en")
    }

    for name in (name.replace("`", "") for name in prose):
        assert name in named["en"]
        assert name not in named["fr"]


def test_the_recorded_run_is_complete() -> None:
    assert len(REGISTER["contestants"]) == 9
    assert len(REGISTER["groups"]["register"]) == 13
    assert len(REGISTER["sizes"]) == 3
    assert REGISTER["sizes"][-1] >= 1_000_000
    assert page("fr").count("<table") == 6
