"""Mesure le bus contre ce qui fait la même chose, en rapports : ``make bench``."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django

from .measuring import ROUNDS, Row

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / os.environ.get("BENCH_RESULTS", "build/bench.json")
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
MEASURED = ("blinker", "celery", "dacite", "django", "kombu", "msgspec", "pyee", "redis")


def main() -> None:
    """Mesure, écrit le JSON, affiche le tableau et ce qui manque aux bornes.

    Les variables d’environnement ``BENCH_ROUNDS`` et ``BENCH_RESULTS`` changent le nombre de
    tours et le fichier écrit.
    """
    groups = measure_here()
    print("Measuring: redis …", flush=True)
    groups["redis"] = measured_apart()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(as_json(groups), indent=2, ensure_ascii=False) + "\n", "utf-8")
    show([row for rows in groups.values() for row in rows])
    print(f"\nWritten to {RESULTS}")


def measure_here() -> dict[str, list[Row]]:
    """Mesure, groupe par groupe, ce qui ne demande aucun serveur."""
    set_up(database="sqlite://:memory:", broker="memory://", outbox=False)
    from . import converting, publishing, sending

    parts = {
        "publish": publishing.publishing,
        "build": publishing.building,
        "convert": converting.converting,
        "send": sending.sending,
    }
    groups: dict[str, list[Row]] = {}
    for name, part in parts.items():
        print(f"Measuring: {name} …", flush=True)
        groups[name] = part()
    return groups


def measured_apart() -> list[Row]:
    """Mesure la part de Redis dans un autre processus, dont c’est le broker."""
    parts = urlsplit(REDIS_URL)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=2).close()
    except OSError as error:
        print(f"Skipped, no Redis at {parts.hostname}:{parts.port}: {error}")
        return []
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "redis"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return [Row(**row) for row in json.loads(done.stdout)]


def measure_with_redis() -> None:
    """Mesure ce qui passe par Redis ; écrit les lignes sur la sortie standard."""
    with tempfile.TemporaryDirectory() as folder:
        set_up(database=f"sqlite:///{folder}/db.sqlite3", broker=REDIS_URL, outbox=True)
        from . import sending

        rows = sending.through_redis()
    print(json.dumps([dataclasses.asdict(row) for row in rows]))


def set_up(*, database: str, broker: str, outbox: bool) -> None:
    """Configure le projet de référence ; à appeler avant d’importer ce qui est mesuré."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="conf.settings",
        DATABASE_URL=database,
        BROKER_URL=broker,
        OUTBOX=str(int(outbox)),
    )
    django.setup()


def as_json(groups: dict[str, list[Row]]) -> dict[str, Any]:
    """Renvoie les résultats, dans la forme que la documentation lit."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "rounds": ROUNDS,
        "versions": {name: version(name) for name in MEASURED},
        "groups": {
            name: [dataclasses.asdict(row) | {"verdict": row.verdict} for row in rows]
            for name, rows in groups.items()
        },
    }


def show(rows: list[Row]) -> None:
    """Affiche le tableau."""
    print(f"\n{'':16}{'ratio':>8}{'median':>8}{'target':>8}")
    for row in rows:
        target = "" if row.target is None else f"{row.target:.3g}"
        print(
            f"{row.key:16}{row.ratio:8.2f}{row.median_ratio:8.2f}{target:>8} {row.verdict:7}"
            f"{row.what}, against {row.against}"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["redis"]:
        measure_with_redis()
    else:
        main()
