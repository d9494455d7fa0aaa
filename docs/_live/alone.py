"""Démarre Django dans le navigateur, où il n’y a ni fil d’exécution, ni socket, ni terminal."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import time
from asyncio import events
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import asgiref.sync
import django


class Loop(asyncio.BaseEventLoop):
    """Une boucle sans fil d’exécution ni socket : elle va à son terme, ici."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = SimpleNamespace(select=lambda wait: time.sleep(wait or 0) or [])

    def _process_events(self, _events: Any) -> None: ...
    def _write_to_self(self) -> None: ...

    def run_in_executor(self, _executor: Any, call: Any, *args: Any) -> Any:
        future = self.create_future()
        events._set_running_loop(None)  # the call sees no loop, as in another thread
        try:
            future.set_result(call(*args))
        except Exception as error:
            future.set_exception(error)
        finally:
            events._set_running_loop(self)
        return future


class Here:
    """Le fil d’exécution où ``async_to_sync`` lancerait une boucle : celui-ci, le seul."""

    def __init__(self, max_workers: int | None = None) -> None: ...

    def submit(self, _run: Any, coroutine: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with asyncio.Runner(loop_factory=Loop) as runner:
            try:
                future.set_result(runner.run(coroutine))
            except Exception as error:
                future.set_exception(error)
        return future


class Log(io.TextIOBase):
    """Ce que les blocs écrivent au journal."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        self.texts.append(text)
        return len(text)

    def taken(self) -> str:
        text = "".join(self.texts)
        self.texts.clear()
        return text


log = Log()


def start() -> None:
    """Prépare cet interpréteur, puis Django ; à appeler avant d’importer des modèles."""
    asgiref.sync.ThreadPoolExecutor = Here
    events._set_running_loop(
        None
    )  # Pyodide’s loop always runs, and Django would refuse its queries
    sys.stderr = log
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "conf.settings",
        "OUTBOX": "1",
        "DATABASE_URL": "sqlite://:memory:",
    }
    django.setup()
