"""Vider une file : des travaux publiés d’avance, puis ceux qui les exécutent."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.children import eventually

from .contestants import Contestant, Stage
from .server import Counts

LOT = 100  # jobs in a transaction of the publisher


@dataclass(frozen=True)
class Drain:
    """Ce qu’a demandé un travail, publié puis exécuté."""

    publishing: float  # seconds a job
    published: Counts
    seconds: float  # a job
    done: Counts
    misses: int  # in the first half
    jobs: int


def drain(stage: Stage, one: Contestant, jobs: int) -> Drain:
    """Publie *jobs* travaux par lots de cent, puis démarre ceux qui les exécutent."""
    database = stage.fresh(one)
    count = stage.server.count(database)
    spent = stage.publish(one, database, jobs, LOT)["seconds"]
    published = count.so_far()
    stage.server.ask("VACUUM ANALYZE", database)
    count = stage.server.count(database)
    with stage.working(one, database):
        until_done(stage, database, jobs)
    began = starts(stage, database)
    assert sorted(began) == list(range(jobs)), f"{one.key}: a job is missing, or done twice"
    times = sorted(began.values())
    return Drain(
        publishing=spent / jobs,
        published=published,
        seconds=pace(times),
        done=count.so_far(),
        # Later, what remains may be reserved by somebody: an empty look is no failure.
        misses=sum(float(line) < times[jobs // 2] for line in stage.misses.open()),
        jobs=jobs,
    )


def pace(times: list[float]) -> float:
    """Renvoie les secondes par travail, du premier dixième au dernier.

    Ce qui précède est le démarrage inégal des processus ; ce qui suit, leur fin.
    """
    tenth = len(times) // 10
    first, last = tenth, len(times) - 1 - tenth
    return (times[last] - times[first]) / (last - first)


def until_done(stage: Stage, database: str, jobs: int, seconds: float = 60.0) -> None:
    """Attend que *jobs* travaux soient exécutés, tant que leur nombre croît."""
    # One connection for all the looks: the server would work as much to open them as to answer.
    with stage.server.connect(database) as connection:

        def done() -> int:
            return int(connection.execute("SELECT count(*) FROM bench_effect").fetchall()[0][0])

        eventually(lambda: done() >= jobs, f"{jobs} jobs", done, seconds)


def starts(stage: Stage, database: str) -> dict[int, float]:
    """Renvoie l’heure où chaque travail a commencé ; un travail exécuté deux fois en manque."""
    rows = stage.server.ask("SELECT number, began FROM bench_effect", database)
    began = dict(rows)
    return began if len(began) == len(rows) else {}
