"""Ce que les commandes du registre lisent de leurs options : une faute tient en une ligne."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from uuid import UUID

from django.core.management.base import CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

_MOST = 256
_LONGEST = 100 * 365 * 86400.0  # seconds; a date much older than that has no place in a database


def add_database(parser: CommandParser) -> None:
    """Ajoute ``--database``."""
    parser.add_argument(
        "--database", type=alias, default=DEFAULT_DB_ALIAS, help="alias of the database"
    )


def alias(text: str) -> str:
    """Lit l’alias d’une base des réglages."""
    if text not in connections:
        known = ", ".join(connections)
        raise ArgumentTypeError(f"{text!r} is no alias of DATABASES, which has {known}")
    return text


def seconds(text: str) -> float:
    """Lit une durée en secondes."""
    return _duration(text, _LONGEST, "seconds")


def days(text: str) -> float:
    """Lit une durée en jours."""
    return _duration(text, _LONGEST / 86400, "days")


def processes(text: str) -> int:
    """Lit un nombre de processus."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise ArgumentTypeError(f"{text!r} is not a number of processes from 1 to {_MOST}")
    return int(text)


def identifier(text: str) -> UUID:
    """Lit l’identifiant d’une livraison."""
    try:
        return UUID(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not the UUID of a delivery") from None


def _duration(text: str, longest: float, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= longest:
        raise ArgumentTypeError(f"{text!r} is not a number of {unit} from 0 to {longest:.0f}")
    return value
