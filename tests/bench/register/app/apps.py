"""L’application du banc : un effet, et les travaux d’un seul concurrent."""

import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class BenchConfig(AppConfig):
    name = "tests.bench.register.app"
    label = "bench"

    def ready(self) -> None:
        import_module(f"{self.name}.jobs.{os.environ['BENCH_JOBS']}")
        connection_created.connect(_watch)


def _watch(connection: Any, **_: Any) -> None:
    if _note_misses not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note_misses)


def _note_misses(
    execute: Callable[..., Any], sql: Any, params: Any, many: Any, context: Any
) -> Any:
    """Note l’heure d’un verrou ou d’une mise à jour qui n’a trouvé aucune ligne."""
    # Seen from here because the server only adds up calls and rows: a claim of a hundred rows
    # would hide a hundred empty ones.
    result = execute(sql, params, many, context)
    if "UPDATE" in str(sql) and context["cursor"].rowcount == 0:
        with open(os.environ["BENCH_MISSES"], "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{time.time()}\n")
    return result
