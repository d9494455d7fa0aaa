"""Mourir entre deux requêtes : une panne au hasard dans le temps y tombe trop rarement."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# The share of the queries that kill the process; set by the chaos, so that migrations survive.
SHARE = float(os.environ.get("CHAOS_FATAL_QUERIES", "0"))


def install() -> None:
    """Surveille toutes les connexions de ce processus."""
    connection_created.connect(_watch)


def die() -> None:
    """Tue ce processus, sans prévenir."""
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _around not in connection.execute_wrappers:  # sent again at each reconnection
        connection.execute_wrappers.append(_around)


def _around(execute: Callable[..., Any], *query: Any) -> Any:
    chance = random.random()
    if chance < SHARE / 2:
        die()
    result = execute(*query)
    if chance < SHARE:
        die()
    return result
