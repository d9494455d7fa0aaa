"""Ce que les mesures donnent : des rapports et leurs bornes, un tableau, un fichier."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.bench.measuring import Row, rounded_down, rounded_up

from .contestants import CONTESTANTS, Contestant
from .drains import Drain
from .growth import Pages
from .latency import percentile

NAMES = {one.key: one.name for one in CONTESTANTS}
OPERATIONS = {
    "relay": "pages of a delivery",
    "status": "pages of `events_status`",
    "admin": "pages of the admin list",
    "enrol": "bytes of WAL of a published row",
}
SPEEDS = (  # a key, who must be that much faster, than whom
    ("speed-relay", "relay", "domain-events", 1.2),
    ("speed-two-relays", "relay-2", "relay", 1.8),
    ("speed-four-relays", "relay-4", "relay-2", 1.0),
    ("speed-celery", "register-celery", "celery", 2.0),
)
COUNTS: Sequence[tuple[str, str, str, Callable[[Drain], float], float]] = (
    # One commit is that of the delivery; a lot of them is reserved by another.
    ("commits", "commits", "relay", lambda drain: drain.done.commits, 1.05),
    ("statements", "statements", "relay", lambda drain: drain.done.statements, 7.0),
    ("misses", "vain claims", "relay-4", lambda drain: 2 * drain.misses, 0.0),
)
# An operation on the large table, and what it must not exceed by much: the same one on the small
# table, or another one on the same.
GROWTHS = (
    ("relay", "small table", "relay", 1.5),
    ("status", "small table", "status", 1.5),
    ("admin", "small table", "admin", 1.5),
    ("enrol", "keys that follow one another", "sequential", 1.3),
)


@dataclass
class Results:
    """Tout ce qui a été mesuré : par concurrent et par tour, puis par taille de table."""

    drains: dict[str, list[Drain]] = field(default_factory=dict)
    waits: dict[str, list[list[float]]] = field(default_factory=dict)
    growth: dict[int, Pages] = field(default_factory=dict)
    statistics: Pages = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """Renvoie ce que le registre doit tenir, pour ce qui a été mesuré."""
        return [*self._speeds(), *self._counts(), *self._sizes()]

    def _speeds(self) -> Iterator[Row]:
        for key, mine, other, target in SPEEDS:
            if {mine, other} <= self.drains.keys():
                paces = self._paces(mine), self._paces(other)
                names = f"speed, {NAMES[mine]}", NAMES[other]
                yield _compared(key, *names, paces, target, at_least=True)
        mine, other = "relay", "procrastinate"
        if {mine, other} <= self.waits.keys():
            medians = self._medians(mine), self._medians(other)
            yield _compared("wait", f"median wait, {NAMES[mine]}", NAMES[other], medians, 2.5)

    def _counts(self) -> Iterator[Row]:
        for key, what, mine, of, target in COUNTS:
            if mine in self.drains:
                found = self.each(mine, of)
                name = f"{what}, {NAMES[mine]}"
                middle = rounded_up(statistics.median(found))
                yield Row(key, name, "a delivery", rounded_up(max(found)), middle, target)

    def _sizes(self) -> Iterator[Row]:
        if self.statistics:
            name = "pages of a delivery, statistics of an empty queue"
            costs = [self.statistics["stale"]], [self.statistics["fresh"]]
            yield _compared("statistics", name, "fresh statistics", costs, 1.5)
        for key, against, other, target in GROWTHS if self.growth else ():
            _empty, small, large = self.growth.values()
            costs = [large[key]], [(large if other != key else small)[other]]
            name = f"{OPERATIONS[key]}, large table"
            yield _compared(f"grown-{key}", name, against, costs, target)

    def _paces(self, key: str) -> list[float]:
        return [drain.seconds for drain in self.drains[key]]

    def _medians(self, key: str) -> list[float]:
        return [statistics.median(times) for times in self.waits[key]]

    def pace(self, key: str) -> float:
        """Renvoie les secondes par travail du meilleur tour."""
        return min(self._paces(key))

    def wait(self, key: str, part: float) -> float:
        """Renvoie l’attente que cette part des travaux ne dépasse pas, tous tours réunis."""
        return percentile(sorted(time for times in self.waits[key] for time in times), part)

    def each(self, key: str, of: Callable[[Drain], float]) -> list[float]:
        """Renvoie, par tour, un compte ramené à un travail."""
        return [of(drain) / drain.jobs for drain in self.drains[key]]

    def table(self) -> list[dict[str, Any]]:
        """Renvoie une ligne par concurrent ; les rapports sont à un relais."""
        return [self._line(one) for one in CONTESTANTS if one.key in self.drains]

    def _line(self, one: Contestant) -> dict[str, Any]:
        def middle(of: Callable[[Drain], float]) -> float:
            return round(statistics.median(self.each(one.key, of)), 2)

        line: dict[str, Any] = {
            "key": one.key,
            "what": one.name,
            "jobs_a_second": round(1 / self.pace(one.key)),
            "statements": middle(lambda drain: drain.done.statements),
            "commits": middle(lambda drain: drain.done.commits),
            "fsyncs": middle(lambda drain: drain.done.fsyncs),
            "wal": round(middle(lambda drain: drain.done.wal)),
            "misses": middle(lambda drain: 2 * drain.misses) if one.shows_misses else None,
            "published_statements": middle(lambda drain: drain.published.statements),
            "published_wal": round(middle(lambda drain: drain.published.wal)),
        }
        if "relay" in self.drains:
            line["speed"] = _three(self.pace("relay") / self.pace(one.key))
            line["publishing"] = _three(self._publishing(one.key) / self._publishing("relay"))
        if one.key in self.waits:
            for name, part in (("p50", 0.5), ("p99", 0.99)):
                line[f"{name}_ms"] = round(1000 * self.wait(one.key, part), 1)
                if "relay" in self.waits:
                    line[name] = _three(self.wait(one.key, part) / self.wait("relay", part))
        return line

    def _publishing(self, key: str) -> float:
        return min(drain.publishing for drain in self.drains[key])

    def as_json(self) -> dict[str, Any]:
        """Renvoie les résultats, dans la forme que la documentation lit."""
        rows = [dataclasses.asdict(row) | {"verdict": row.verdict} for row in self.rows()]
        return {
            "groups": {"register": rows},
            "contestants": self.table(),
            "growth": [
                {"what": what, "costs": [round(cost[key], 1) for cost in self.growth.values()]}
                for key, what in OPERATIONS.items()
            ],
            "sizes": list(self.growth),
        }


Costs: TypeAlias = tuple[list[float], list[float]]  # ours and another's, round by round


def _compared(
    key: str, what: str, against: str, costs: Costs, target: float, *, at_least: bool = False
) -> Row:
    """Compare deux coûts, tour par tour ; une vitesse est l’inverse d’un coût."""
    over, under = reversed(costs) if at_least else costs
    rounded = rounded_down if at_least else rounded_up
    middle = statistics.median(one / other for one, other in zip(over, under, strict=True))
    ratio = min(over) / min(under)
    return Row(key, what, against, rounded(ratio), rounded(middle), target, at_least)


def _three(ratio: float) -> float:
    return float(f"{ratio:.3g}")


def show(results: Results) -> None:
    """Affiche les concurrents, la croissance, puis chaque borne et si elle est tenue."""
    shown = ("jobs_a_second", "speed", "statements", "commits", "fsyncs", "wal", "misses",
             "publishing", "p50_ms", "p99_ms")  # fmt: skip
    print(f"\n{'':36}" + "".join(f"{name:>14}" for name in shown))
    for line in results.table():
        cells = [line.get(name) for name in shown]
        print(f"{line['what']:36}" + "".join(f"{'' if c is None else c:>14}" for c in cells))
    for size, costs in results.growth.items():
        print(f"{size} settled rows: " + ", ".join(f"{k} {v:.0f}" for k, v in costs.items()))
    print(f"\n{'':60}{'ratio':>8}{'median':>8}{'target':>8}")
    for row in results.rows():
        sign, mark = "≥" if row.at_least else "≤", "✓" if row.verdict == "met" else "✗"
        print(f"{row.what + ' ÷ ' + row.against:60.60}{row.ratio:8.3g}{row.median_ratio:8.3g}"
              f"{f'{sign} {row.target:g}':>8} {mark}")  # fmt: skip
