"""Un relais qui vit longtemps ne garde que ce qui lui sert."""

import contextlib
import gc
import os
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from src.share_kernel.infrastructure.event_bus import publish_events, subscribe_async
from tests.share_kernel.events import OrderPlaced

from .conftest import OpenRegister
from .registers import Register

DELIVERIES = int(os.environ.get("RELAY_DELIVERIES", "1200"))  # the promise is of 20,000
WARM_UP = 300
LEFT_BEHIND = 16  # bytes a delivery: anything that each one left would be larger


@pytest.fixture
def opened() -> Iterator[Counter[str]]:
    """Compte les connexions ouvertes, par alias."""
    opened: Counter[str] = Counter()

    def count(connection: Any, **_: Any) -> None:
        if threading.current_thread() is threading.main_thread():  # else, of the publisher
            opened[connection.alias] += 1

    connection_created.connect(count)
    yield opened
    connection_created.disconnect(count)


# Python’s cache of attributes keeps some names that these build, 4096 at most.
CACHED = [
    tracemalloc.Filter(inclusive=False, filename_pattern=f"*/{name}")
    for name in (
        "django/db/models/sql/compiler.py",
        "django/utils/timezone.py",
        "psycopg/_queries.py",
        "psycopg/conninfo.py",
    )
]


@contextlib.contextmanager
def growth_of_memory() -> Iterator[Callable[[], int]]:
    """Donne de quoi lire combien d’octets alloués dans le bloc y sont encore."""

    def growth() -> int:
        gc.collect()
        snapshot = tracemalloc.take_snapshot().filter_traces(CACHED)
        return sum(trace.size for trace in snapshot.traces)

    gc.collect()
    tracemalloc.start()
    yield growth
    tracemalloc.stop()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def publish(register: Register, count: int) -> None:
    for start in range(0, count, 1_000):
        events = [OrderPlaced() for _ in range(start, min(start + 1_000, count))]
        publish_events(events, using=register.using)


def test_keeps_one_connection_an_alias_its_files_and_its_memory(
    postgresql: Register, open_register: OpenRegister, opened: Counter[str]
) -> None:
    legacy = open_register("postgresql", using="legacy")
    sessions: Counter[int] = Counter()
    subscribe_async(OrderPlaced, lambda event: sessions.update([legacy.session()]), name="export")
    for register in (postgresql, legacy):
        assert connections.settings[register.using]["CONN_MAX_AGE"] == 0
        connections[register.using].close()
    opened.clear()

    for _ in range(2):  # what is imported, compiled and cached once
        publish(postgresql, WARM_UP)
        assert postgresql.turn_of_the_command() == WARM_UP
    files = open_files()
    publish(postgresql, DELIVERIES)
    with growth_of_memory() as growth:
        while postgresql.turn_of_the_command():
            assert open_files() == files
        left_behind = growth()

    assert list(sessions.values()) == [DELIVERIES + 2 * WARM_UP]
    assert opened == {"postgresql": 1, "legacy": 1}
    assert left_behind < LEFT_BEHIND * DELIVERIES
    assert open_files() == files - 2  # idle, it has let both connections go
