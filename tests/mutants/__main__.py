"""Combien de fautes glissées dans le bus les tests unitaires voient-ils ?

Chaque mutant vit dans une copie du projet ; le premier test qui échoue le tue.
Variables : ``MUTANTS`` (combien), ``SEED`` (le tirage), ``JOBS`` (combien à la fois).
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from .drawing import ROOT, Mutant, candidates, first_tests

COPIED = ("src", "conf", "tests", "conftest.py", "manage.py", "pyproject.toml", "README.md")
COUNT = int(os.environ.get("MUTANTS", "300"))
SEED = int(os.environ.get("SEED", "0"))
JOBS = int(os.environ.get("JOBS", "2"))


def main() -> None:
    """Tire les mutants, les juge, nomme ceux qui survivent."""
    chosen = list(islice(candidates(SEED), COUNT))
    copies: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(JOBS) as pool:
        for number in range(JOBS):
            copies.put(copied(Path(folder, str(number))))
        seconds = measured(Path(folder, "0"))
        killers = list(pool.map(lambda mutant: killer_of(mutant, copies, seconds), chosen))
    survivors = [mutant for mutant, by in zip(chosen, killers, strict=True) if by is None]
    for mutant in sorted(survivors, key=str):
        print(f"{mutant}\n{mutant.diff()}\n")
    killed = len(chosen) - len(survivors)
    print(f"Seed {SEED}: {killed} of {len(chosen)} killed, {100 * killed / len(chosen):.1f} %.")


def measured(copy: Path) -> float:
    """Exécute les tests sans faute ; renvoie combien de secondes de calcul accorder à un mutant."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    by = first_failure(copy, [], 600)
    if by is not None:
        sys.exit(f"Without any mutation the tests fail already: {by}")
    return 10 + 5 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)


def killer_of(mutant: Mutant, copies: SimpleQueue[Path], seconds: float) -> str | None:
    """Renvoie le test qui tue *mutant*, ou ``None`` s’il survit."""
    copy = copies.get()
    path = copy / mutant.path
    try:
        path.write_text(mutant.code, encoding="utf-8")
        # A compiled file is known by size and second: never take the original’s for the mutant’s.
        os.utime(path, (time.time() + 100, time.time() + 100))
        by = first_failure(copy, first_tests(mutant.path), seconds)
    finally:
        shutil.copy2(ROOT / mutant.path, path)
        copies.put(copy)
    print(mutant, "SURVIVED" if by is None else f"killed by {by}", file=sys.stderr, flush=True)
    return by


def first_failure(copy: Path, first: list[str], seconds: float) -> str | None:
    """Exécute les tests unitaires dans *copy* jusqu’au premier échec, et le renvoie."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "tests/share_kernel", "-x", "-q", "--no-header",
         "--tb=no", "-rfE", "-p", "no:cacheprovider", "-p", "tests.mutants.first"],
        cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
        env=os.environ | {"MUTANT_FIRST": " ".join(first), "MUTANT_SECONDS": str(int(seconds)),
                          "PYTHONDONTWRITEBYTECODE": ""},  # two thirds of a short run
    )  # fmt: skip
    try:
        printed, _ = process.communicate(timeout=10 * seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "the time it takes"
    if process.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE)
    return failed[1] if failed else f"the end of pytest: {printed.strip()[-200:]}"


def copied(folder: Path) -> Path:
    """Copie dans *folder* ce que les tests unitaires lisent."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, folder)
    return folder


if __name__ == "__main__":
    main()
