"""Garde le récit d’une exécution : c’est ce que dessine la page d’accueil du site."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .journal import Line
from .scenes import TITLES


def write(path: Path, told: list[Line]) -> None:
    """Écrit les scènes en JSON, avec leur date et la version de Python."""
    run = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "scenes": scenes(told),
    }
    path.write_text(f"{json.dumps(run, indent=1)}\n", encoding="utf-8")


def scenes(told: list[Line]) -> list[dict[str, Any]]:
    """Renvoie chaque scène : sa clé, et ses événements dans l’ordre où ils ont eu lieu.

    ``at`` est en millisecondes depuis le premier, ``life`` distingue les processus successifs
    d’un même rôle.
    """
    keys = {title: key for key, title in TITLES.items()}
    found: list[tuple[str, list[Line]]] = []
    for line in told:
        if line.when == "step":
            found.append((keys[line.what], []))
        else:
            found[-1][1].append(line)
    return [{"scene": key, "events": _events(sorted(lines))} for key, lines in found]


def _events(lines: list[Line]) -> list[dict[str, Any]]:
    lives: dict[str, list[int]] = {}
    for line in lines:
        pids = lives.setdefault(line.process, [])
        if line.pid not in pids:
            pids.append(line.pid)
    return [
        {
            "at": round((line.at - lines[0].at) * 1000),
            "process": line.process,
            "life": lives[line.process].index(line.pid) + 1,
            "when": line.when,
            "what": line.what,
        }
        for line in lines
    ]
