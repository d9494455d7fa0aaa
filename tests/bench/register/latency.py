"""Le temps entre un commit et le début du travail, quand rien d’autre n’attend."""

from __future__ import annotations

from .contestants import Contestant, Stage
from .drains import starts, until_done

PAUSE = 0.3  # seconds between two jobs, to within a half
WARM_UP = 20  # jobs after which every process has its connections and its imports


def latencies(stage: Stage, one: Contestant, jobs: int) -> list[float]:
    """Renvoie, en secondes et dans l’ordre croissant, l’attente de chaque travail."""
    database = stage.fresh(one)
    with stage.working(one, database):
        stage.publish(one, database, WARM_UP, 1)
        until_done(stage, database, WARM_UP)
        stage.server.ask("TRUNCATE bench_effect", database)
        commits = stage.publish(one, database, jobs, 1, PAUSE)["commits"]
        until_done(stage, database, jobs)
    began = starts(stage, database)
    return sorted(began[number] - committed for number, committed in enumerate(commits))


def percentile(times: list[float], part: float) -> float:
    """Renvoie ce que cette part des temps, triés, ne dépasse pas."""
    return times[min(len(times) - 1, int(part * len(times)))]
