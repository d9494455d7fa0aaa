"""La tourmente en petit : le registre ne perd rien, et le contrôle sait voir une perte."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from . import __main__ as command
from . import databases, storm
from .checking import FAULTS, INNOCENT, POISON, Findings, Start, compare
from .missing import MissingError
from .storm import RECIPES, Result, Storm

SEED = 20260101
(SQLITE,) = (recipe for recipe in RECIPES if recipe.name == "sqlite")


def test_the_register_loses_invents_and_doubles_nothing(tmp_path: Path) -> None:
    result = storm.run(SQLITE, tmp_path, seed=SEED, seconds=10)

    found = result.findings
    assert {word: getattr(found, word) for word in FAULTS} == {word: [] for word in FAULTS}
    assert result.surprises == []
    assert sum(result.faults.values()) >= 5
    assert found.rolled_back > 0
    assert found.dead == found.orders > 0
    lines = Counter((handler, key) for handler, key, _ in starts(tmp_path))
    assert {handler for handler, _ in lines} == {"orderly", POISON}
    assert max(lines.values()) > 2


def test_the_light_path_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "CALM", (0.2, 0.8))  # the more kills, the surer the loss

    result = storm.run(SQLITE, tmp_path, seed=SEED, seconds=12, durable=False)

    # This handler never fails: only a kill between the commit and its turn can lose it.
    assert [event for event, handler in result.findings.lost if handler == "ok"]
    assert result.findings.phantom == []


def test_what_nobody_delivers_is_late_and_not_lost(tmp_path: Path) -> None:
    with databases.sqlite(tmp_path) as url:
        stuck = Storm(url, None, tmp_path, Random(SEED))
        try:
            stuck.begin()
            stuck.retire("relay")
            settled = {pair[:2] for pair in deliveries(url) if pair[2] != "pending"}
            stuck.wait_for(lambda: len(deliveries(url)) > len(settled), "a row to deliver")
            stuck.heal()
            stuck.patience = 1
            stuck.drain()
        finally:
            stuck.end()
        found = stuck.findings()

    assert (
        found.orders * len((*INNOCENT, POISON))
        == found.deliveries
        == len(settled) + len(found.late)
    )
    assert found.late
    assert (found.lost, found.phantom, found.duplicates) == ([], [], [])
    assert not found.clean


def deliveries(url: str) -> list[tuple[Any, ...]]:
    return databases.rows(url, f"SELECT event_id, handler, state FROM {storm.REGISTER}")


def starts(folder: Path) -> list[list[str]]:
    return [line.split()[1:] for line in (folder / "starts.txt").read_text().splitlines()]


class TestCompare:
    """Chaque faute doit être vue : un contrôle aveugle dirait toujours zéro."""

    EVENT = uuid4().hex

    def compare(
        self, *, without: str = "", twice: str = "", order: bool = True, cancelled: bool = False,
        states: dict[str, str] | None = None, starts: Sequence[Start] = (),
    ) -> Findings:  # fmt: skip
        """Compare un monde où tout va bien, sauf ce qui est dit.

        Args:
            without: le handler dont l’effet manque.
            twice: celui dont il y a un effet de plus.
            order: la commande existe.
            cancelled: sa transaction a été annulée.
            states: l’état de la ligne d’un handler ; vide, elle manque.
            starts: les départs, dans leur ordre.
        """
        rows = dict.fromkeys(INNOCENT, "done") | {POISON: "dead"} | (states or {})
        seen = [name for name in (*INNOCENT, twice) if name not in (without, "")]
        return compare(
            orders=[self.EVENT] * order,
            deliveries=[(self.EVENT, handler, state) for handler, state in rows.items() if state],
            effects=[(self.EVENT, name) for name in seen],
            rolled_back={self.EVENT} if cancelled else set(),
            starts=starts,
            durable=True,
        )

    def test_all_is_well(self) -> None:
        assert self.compare().clean

    @pytest.mark.parametrize("handler", INNOCENT)
    @pytest.mark.parametrize("state", ["done", "dead", ""])
    def test_an_effect_that_nothing_promises_any_more_is_lost(
        self, handler: str, state: str
    ) -> None:
        found = self.compare(without=handler, states={handler: state})

        assert (found.lost, found.late) == ([(self.EVENT, handler)], [])
        assert not found.clean

    @pytest.mark.parametrize("handler", INNOCENT)
    def test_an_effect_whose_row_is_pending_is_late(self, handler: str) -> None:
        found = self.compare(without=handler, states={handler: "pending"})

        assert (found.lost, found.late) == ([], [(self.EVENT, handler)])
        assert not found.clean

    def test_a_row_still_pending_beside_its_effect_is_late(self) -> None:
        found = self.compare(states={"ok": "pending"})

        assert (found.lost, found.late, found.duplicates) == ([], [(self.EVENT, "ok")], [])

    def test_a_poison_still_pending_is_late(self) -> None:
        found = self.compare(states={POISON: "pending"})

        assert (found.lost, found.late) == ([], [(self.EVENT, POISON)])

    @pytest.mark.parametrize("state", ["done", ""])
    def test_a_poison_that_did_not_end_dead_is_lost(self, state: str) -> None:
        found = self.compare(states={POISON: state})

        assert (found.lost, found.late) == ([(self.EVENT, POISON)], [])

    @pytest.mark.parametrize("why", [{"order": False}, {"cancelled": True}])
    @pytest.mark.parametrize("state", ["done", "pending"])
    def test_what_no_committed_order_explains_is_a_phantom(
        self, why: dict[str, Any], state: str
    ) -> None:
        found = self.compare(states={"ok": state}, **why)

        assert found.phantom == sorted((self.EVENT, name) for name in (*INNOCENT, POISON))
        assert (found.lost, found.late) == ([], [])
        assert not found.clean

    def test_an_effect_that_a_failure_left_is_a_phantom(self) -> None:
        assert self.compare(twice=POISON).phantom == [(self.EVENT, POISON)]

    def test_a_second_effect_is_a_duplicate(self) -> None:
        found = self.compare(twice="ok")

        assert found.duplicates == [(self.EVENT, "ok")]
        assert not found.clean

    @pytest.mark.parametrize(
        "ranks",
        [
            [2, 1],
            [1, 3, 2],
            [1, 2, 1],  # the head starts again: it had not finished
            [1, 1, 2, 3, 3, 2],
        ],
    )
    def test_a_start_that_follows_a_later_one_is_a_violation(self, ranks: list[int]) -> None:
        found = self.compare(starts=[line("a", rank) for rank in ranks])

        assert found.order_violations == [(f"a{ranks[-1]}", "orderly")]
        assert not found.clean

    @pytest.mark.parametrize(
        "starts",
        [
            [("a", 1), ("a", 1), ("a", 2)],  # it failed, and tries again
            [("a", 1), ("a", 3)],  # the one between was given up before it started
            [("a", 2), ("b", 1)],
        ],
    )
    def test_a_head_that_tries_again_or_is_given_up_violates_nothing(
        self, starts: list[tuple[str, int]]
    ) -> None:
        assert self.compare(starts=[line(*start) for start in starts]).clean

    def test_each_handler_has_its_own_lines(self) -> None:
        assert self.compare(starts=[line("a", 2), line("a", 1, handler=POISON)]).clean

    def test_each_start_out_of_its_turn_counts(self) -> None:
        found = self.compare(starts=[line("a", rank) for rank in (3, 1, 2)])

        assert found.order_violations == [("a1", "orderly"), ("a2", "orderly")]


def line(key: str, rank: int, handler: str = "orderly") -> Start:
    return f"{key}{rank}", handler, key, rank


class TestConclusion:
    """Seule une bonne exécution, et sur demande, remplace les chiffres publiés."""

    GOOD = Findings(2, 10, 8, 2, 1, **dict.fromkeys(FAULTS, ()))

    @pytest.fixture
    def published(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(command, "ROOT", tmp_path)
        path = tmp_path / "docs" / "_data" / "chaos.json"
        path.parent.mkdir(parents=True)
        path.write_text("the last good run")
        return path

    @pytest.fixture
    def asked(self, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("CHAOS_RESULTS", "docs/_data/chaos.json")
        return published

    def conclude(self, findings: Findings = GOOD, skipped: int = 0) -> int:
        return command.conclude([Result("sqlite", 1.0, {}, [], findings)], SEED, skipped)

    def test_nothing_is_published_unasked(self, published: Path, tmp_path: Path) -> None:
        assert self.conclude() == 0
        assert published.read_text() == "the last good run"
        assert json.loads((tmp_path / "build" / "chaos.json").read_text())["seed"] == SEED

    def test_a_good_run_is_published_when_asked(self, asked: Path) -> None:
        assert self.conclude() == 0

        (stack,) = json.loads(asked.read_text())["stacks"]
        assert stack | {"orders": 2, **dict.fromkeys(FAULTS, 0)} == stack

    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_run_with_a_fault_fails_names_it_and_publishes_nothing(
        self, asked: Path, capsys: pytest.CaptureFixture[str], fault: str
    ) -> None:
        one: dict[str, Any] = {fault: (("event", "handler"),)}

        assert self.conclude(replace(self.GOOD, **one)) == 1

        head, row, *_ = capsys.readouterr().out.splitlines()
        counts = dict(zip(head.split(), row.split(), strict=True))
        assert {name: counts[name] for name in FAULTS} == dict.fromkeys(FAULTS, "0") | {fault: "1"}
        assert asked.read_text() == "the last good run"

    @pytest.mark.parametrize(("strict", "code"), [("0", 0), ("1", 1)])
    def test_a_run_without_a_stack_publishes_nothing_and_may_fail(
        self, asked: Path, monkeypatch: pytest.MonkeyPatch, strict: str, code: int
    ) -> None:
        monkeypatch.setenv("REQUIRE_ALL", strict)

        assert self.conclude(skipped=1) == code
        assert asked.read_text() == "the last good run"


@pytest.mark.parametrize("recipe", RECIPES[1:], ids=lambda recipe: recipe.name)
def test_a_stack_without_its_database_is_skipped_with_its_variable(
    recipe: storm.Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("POSTGRES_URL", "MARIADB_URL"):
        scheme = urlsplit(getattr(databases, variable)).scheme
        monkeypatch.setenv(variable, f"{scheme}://nobody@127.0.0.1:1/none")
    wanted = "MARIADB_URL|mysqlclient" if "mariadb" in recipe.name else "POSTGRES_URL"

    with pytest.raises(MissingError, match=wanted):
        storm.run(recipe, tmp_path, seed=SEED, seconds=0)
