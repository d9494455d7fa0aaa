"""Mesure le registre et ses pairs, sur un PostgreSQL privé : ``make bench-register``."""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.chaos.brokers import Redis
from tests.chaos.children import ROOT
from tests.chaos.missing import MissingError

from .contestants import CONTESTANTS, Contestant, Stage
from .drains import drain
from .growth import growth, stale_statistics
from .latency import latencies
from .report import Results, show
from .server import Server

RESULTS = ROOT / os.environ.get("BENCH_RESULTS", "build/bench-register.json")
JOBS = int(os.environ.get("JOBS", "2000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
ROWS = int(os.environ.get("ROWS", "1000000"))  # settled rows of the large table
SMALL = min(100_000, ROWS // 10)  # and of the one it is compared with
MEASURED = ("celery", "django", "psycopg")


def main() -> int:
    """Mesure, affiche les tableaux, écrit le JSON.

    Les variables d’environnement ``JOBS``, ``ROUNDS`` et ``ROWS`` raccourcissent ou allongent la
    mesure (``ROWS=0`` : sans la croissance), ``CONTESTANTS`` en choisit les concurrents par leur
    clé, ``BENCH_RESULTS`` le fichier.
    """
    keys = [one.key for one in CONTESTANTS]
    asked = os.environ.get("CONTESTANTS", ",".join(keys)).split(",")
    chosen = [CONTESTANTS[keys.index(key)] for key in asked]
    present = [one for one in chosen if one.is_installed]
    for one in chosen:
        if not one.is_installed:
            print(f"Skipped, not installed: {one.package}")
    results = Results()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        try:
            stage = set_up(Path(name), stack)
        except MissingError as error:
            print(f"Skipped, {error}")
            return int(os.environ.get("REQUIRE_ALL") == "1")
        compete(stage, present, results)
        if SMALL:
            print("Measuring: growth …", flush=True)
            results.growth = growth(stage, [0, SMALL, ROWS])
            results.statistics = stale_statistics(stage, SMALL)
        facts = told(present, stage.server)
    RESULTS.parent.mkdir(exist_ok=True)
    report = json.dumps(facts | results.as_json(), indent=2, ensure_ascii=False)
    RESULTS.write_text(report + "\n", "utf-8")
    show(results)
    print(f"\nWritten to {RESULTS}")
    return 0


def set_up(folder: Path, stack: ExitStack) -> Stage:
    """Démarre le serveur et le broker, que *stack* arrêtera."""
    server, broker = Server(folder), Redis(folder)
    stack.callback(server.close)
    server.start()
    stack.callback(broker.close)
    broker.start()
    return Stage(server, broker, folder)


def compete(stage: Stage, present: list[Contestant], results: Results) -> None:
    """Fait passer chacun à chaque tour, dans un ordre tiré au hasard."""
    for number in range(ROUNDS):
        for one in random.sample(present, len(present)):
            print(f"Measuring: round {number + 1}, {one.key} …", flush=True)
            results.drains.setdefault(one.key, []).append(drain(stage, one, JOBS))
            if one.has_latency:
                waits = latencies(stage, one, max(5, JOBS // 100))
                results.waits.setdefault(one.key, []).append(waits)


def told(present: list[Contestant], server: Server) -> dict[str, Any]:
    """Renvoie ce qui tournait."""
    packages = sorted({*MEASURED, *(one.package for one in present if one.package)})
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "rounds": ROUNDS,
        "jobs": JOBS,
        "versions": {name: version(name) for name in packages}
        | {"PostgreSQL": server.value("SHOW server_version").split()[0]},
    }


if __name__ == "__main__":
    sys.exit(main())
