"""Le récit commun : chaque processus y ajoute des lignes JSON, l’écran les affiche."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

ENV_PATH, ENV_PROCESS = "DEMO_JOURNAL", "DEMO_PROCESS"


class Line(NamedTuple):
    """Ce qui vient de se passer, et où."""

    at: float
    process: str
    pid: int
    when: str
    """``before commit``, ``COMMIT``, ``after commit``, ``ROLLBACK``, ou ``step`` pour un titre.

    Avec ``--faults``, aussi ``KILLED``, ``STOPPED``, ``STARTED`` et ``in the end``.
    """
    what: str


def tell(when: str, what: str, at: float | None = None) -> None:
    """Ajoute une ligne au récit ; hors de la démonstration, ne fait rien."""
    if path := os.environ.get(ENV_PATH):
        line = Line(at or time.time(), os.environ[ENV_PROCESS], os.getpid(), when, what)
        append(Path(path), line)


def append(path: Path, line: Line) -> None:
    """Écrit une ligne en une fois : celles de plusieurs processus ne se mêlent pas."""
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def read(path: Path | None = None) -> list[Line]:
    """Renvoie les lignes entières écrites jusqu’ici, dans l’ordre."""
    text = (path or Path(os.environ[ENV_PATH])).read_text(encoding="utf-8")
    return [Line(*json.loads(line)) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
