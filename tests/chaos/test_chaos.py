"""La tourmente en petit : le registre ne perd rien, et le contrôle sait voir une perte."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from . import storm
from .checking import INNOCENT, POISON, Findings, compare
from .storm import RECIPES

SEED = 20260101
(SQLITE,) = (recipe for recipe in RECIPES if recipe.name == "sqlite")


def test_the_register_loses_invents_and_doubles_nothing(tmp_path: Path) -> None:
    result = storm.run(SQLITE, tmp_path, seed=SEED, seconds=10)

    found = result.findings
    assert (found.lost, found.phantom, found.duplicates) == ([], [], [])
    assert result.pending == 0
    assert result.surprises == []
    assert sum(result.faults.values()) >= 5
    assert found.rolled_back > 0
    assert found.dead == found.orders > 0


def test_the_light_path_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "CALM", (0.2, 0.8))  # the more kills, the surer the loss

    result = storm.run(SQLITE, tmp_path, seed=SEED, seconds=12, durable=False)

    # This handler never fails: only a kill between the commit and its turn can lose it.
    assert [event for event, handler in result.findings.lost if handler == "ok"]
    assert result.findings.phantom == []


class TestCompare:
    """Chaque faute doit être vue : un contrôle aveugle dirait toujours zéro."""

    EVENT = uuid4().hex

    def compare(
        self, *, without: str = "", more: tuple[str, ...] = (), poison: str = "dead",
        orders: tuple[str, ...] = (EVENT,),
    ) -> Findings:  # fmt: skip
        done = [handler for handler in INNOCENT if handler != without]
        return compare(
            orders=orders,
            deliveries=[(self.EVENT, POISON, poison)]
            + [(self.EVENT, handler, "done") for handler in done],
            effects=[(self.EVENT, handler) for handler in (*done, *more)],
            rolled_back=set(),
            durable=True,
        )

    def test_all_is_well(self) -> None:
        assert self.compare().clean

    @pytest.mark.parametrize("handler", INNOCENT)
    def test_a_missing_effect_is_lost(self, handler: str) -> None:
        assert self.compare(without=handler).lost == [(self.EVENT, handler)]

    @pytest.mark.parametrize("state", ["pending", "done"])
    def test_a_poison_that_did_not_end_dead_is_lost(self, state: str) -> None:
        assert self.compare(poison=state).lost == [(self.EVENT, POISON)]

    def test_an_effect_without_an_order_is_a_phantom(self) -> None:
        assert self.compare(orders=()).phantom

    def test_an_effect_that_a_failure_left_is_a_phantom(self) -> None:
        assert self.compare(more=(POISON,)).phantom == [(self.EVENT, POISON)]

    def test_a_second_effect_is_a_duplicate(self) -> None:
        assert self.compare(more=("ok",)).duplicates == [(self.EVENT, "ok")]
