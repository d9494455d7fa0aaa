"""Mesurer plusieurs cas ensemble et les comparer.

Chaque tour exécute tous les cas dans un ordre tiré au hasard, ramasse-miettes arrêté.
Le rapport compare les minima : ce que la machine fait d’autre ne peut qu’ajouter du temps.
"""

from __future__ import annotations

import gc
import math
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "60"))
BATCH = 0.004  # seconds that one case takes in one round, about

Case: TypeAlias = Callable[[], object]
Times: TypeAlias = dict[str, list[float]]


@dataclass(frozen=True)
class Row:
    """Un rapport mesuré et la borne qu’il doit tenir. La page le désigne par sa clé."""

    key: str
    what: str
    against: str
    ratio: float
    median_ratio: float
    target: float | None
    at_least: bool = False  # the target is what the ratio must reach

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "met" if met else "missed"


def measure(cases: dict[str, Case], rounds: int = ROUNDS) -> Times:
    """Renvoie, par cas, le temps d’un appel à chaque tour, en secondes."""
    repeats = {name: _calibrate(case) for name, case in cases.items()}
    times: Times = {name: [] for name in cases}
    order = list(cases)
    gc.disable()
    try:
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                times[name].append(_time(cases[name], repeats[name]))
            gc.collect()
    finally:
        gc.enable()
    return times


def _calibrate(case: Case) -> int:
    case()
    once = _time(case, 1)
    return max(1, int(BATCH / max(_time(case, 10), 1e-9))) if once < BATCH else 1


def _time(case: Case, repeats: int) -> float:
    loop = range(repeats)
    began = time.perf_counter()
    for _ in loop:
        case()
    return (time.perf_counter() - began) / repeats


def compare(times: Times, key: str, what: str, against: str, target: float | None = None) -> Row:
    """Compare deux cas d’une même mesure."""
    pairs = zip(times[what], times[against], strict=True)
    return Row(
        key,
        what,
        against,
        ratio=rounded_up(min(times[what]) / min(times[against])),
        median_ratio=rounded_up(statistics.median(mine / other for mine, other in pairs)),
        target=target,
    )


def rounded_up(ratio: float) -> float:
    """Garde trois chiffres ; par excès, pour qu’une borne manquée de peu se voie manquée."""
    return _rounded(ratio, math.ceil)


def rounded_down(ratio: float) -> float:
    """Garde trois chiffres, par défaut, pour une borne à atteindre."""
    return _rounded(ratio, math.floor)


def _rounded(ratio: float, towards: Callable[[float], int]) -> float:
    if ratio == 0:
        return 0.0
    scale = 10.0 ** (2 - math.floor(math.log10(ratio)))
    return towards(round(ratio * scale, 6)) / scale
