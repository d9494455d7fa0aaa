"""``make chaos`` : la tourmente sur les quatre piles, et ses résultats."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .checking import FAULTS
from .children import ROOT
from .missing import MissingError
from .storm import RECIPES, Recipe, Result, run

SECONDS = 25.0
EXAMPLES = 5
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
HEADS = f"stack seconds faults orders cancelled deliveries effects dead {' '.join(FAULTS)}"
COLUMNS = "{:22}{:>8}{:>8}{:>8}{:>12}{:>12}{:>9}{:>7}{:>7}{:>7}{:>9}{:>12}{:>18}"


def main() -> int:
    """Exécute les piles choisies ; renvoie le code de sortie.

    Les variables d’environnement ``CHAOS_SEED``, ``CHAOS_SECONDS`` et ``CHAOS_STACKS`` (des noms
    séparés par des virgules) rejouent une suite de pannes, l’allongent, choisissent les piles.
    ``CHAOS_RESULTS`` nomme le fichier où garder les résultats, si rien ne manque.
    """
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(2**32))
    seconds = float(os.environ.get("CHAOS_SECONDS") or SECONDS)
    names = [recipe.name for recipe in RECIPES]
    chosen = (os.environ.get("CHAOS_STACKS") or ",".join(names)).split(",")
    recipes = [RECIPES[names.index(name)] for name in chosen]
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}", flush=True)
    for number in INTERRUPTIONS:
        signal.signal(number, interrupt)
    try:
        attempts = [one(recipe, seed, seconds) for recipe in recipes]
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    results = [result for result in attempts if result]
    return conclude(results, seed, skipped=len(attempts) - len(results))


def conclude(results: list[Result], seed: int, skipped: int) -> int:
    """Montre les résultats, les garde s’ils sont bons ; renvoie le code de sortie."""
    show(results)
    report = as_json(results, seed)
    write(ROOT / "build" / "chaos.json", report)
    clean = all(result.findings.clean for result in results)
    if asked := os.environ.get("CHAOS_RESULTS"):
        if clean and results and not skipped:
            write(ROOT / asked, report)
            print(f"written to {asked}")
        else:
            print(f"{asked} is left as it was: {'a stack was skipped' if clean else 'not clean'}")
    return int(not clean or (skipped > 0 and os.environ.get("REQUIRE_ALL") == "1"))


def interrupt(*_: Any) -> None:
    """Laisse chacun nettoyer ; une seconde interruption y couperait court."""
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def one(recipe: Recipe, seed: int, seconds: float) -> Result | None:
    """Tourmente une pile, et garde les journaux d’un échec ; ``None`` s’il manque un service."""
    print(f"{recipe.name}…", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        result = run(recipe, folder, seed=seed, seconds=seconds)
    except MissingError as error:
        print(f"  skipped: {error}")
        result = None
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    if result is not None:
        tell(result)
    if result is None or result.findings.clean:
        shutil.rmtree(folder)
    else:
        print(f"  the logs of its processes are in {folder}")
    return result


def tell(result: Result) -> None:
    """Donne des exemples de ce qui ne va pas."""
    found = result.findings
    for word in FAULTS:
        pairs = getattr(found, word)
        for event, handler in pairs[:EXAMPLES]:
            print(f"  {word}: event {event}, handler {handler}")
    if found.late:
        print(f"  nothing moved any more, and {len(found.late)} deliveries were still pending")
    for text in result.surprises:
        print(f"  surprise: {text}")


def show(results: list[Result]) -> None:
    """Affiche le tableau."""
    print(COLUMNS.format(*HEADS.split()))
    for result in results:
        found = result.findings
        cells = (
            result.name,
            result.seconds,
            sum(result.faults.values()),
            found.orders,
            found.rolled_back,
            found.deliveries,
            found.effects,
            found.dead,
            *(len(getattr(found, word)) for word in FAULTS),
        )
        print(COLUMNS.format(*cells))


def as_json(results: list[Result], seed: int) -> dict[str, Any]:
    """Renvoie les résultats, dans la forme que la documentation lit."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "stacks": [
            {
                "name": result.name,
                "seconds": result.seconds,
                "faults": result.faults,
                "orders": result.findings.orders,
                "deliveries": result.findings.deliveries,
                "effects": result.findings.effects,
                "dead": result.findings.dead,
                **{word: len(getattr(result.findings, word)) for word in FAULTS},
            }
            for result in results
        ],
    }


def write(path: Path, report: dict[str, Any]) -> None:
    """Écrit le rapport."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
