"""Exécute les blocs d’une page dans le navigateur, sur le même Django, la même base, le même bus.

Chaque demande repart d’une base vide et refait les blocs depuis le premier.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import linecache
import os
import sys
import time
import traceback
from asyncio import events
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import asgiref.sync
from blocks import DURABLE_PAGES, Block

Tell = Callable[[str], None]


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


asgiref.sync.ThreadPoolExecutor = Here  # type: ignore[misc, assignment]
events._set_running_loop(None)  # Pyodide’s loop always runs, and Django would refuse its queries
sys.stderr = log = Log()  # type: ignore[assignment]
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "conf.settings",
    "OUTBOX": "1",
    "DATABASE_URL": "sqlite://:memory:",
}

import django  # noqa: E402  (the environment comes first)

django.setup()

from django.db import connection  # noqa: E402
from django.dispatch import Signal  # noqa: E402

from src.share_kernel.infrastructure import dispatch  # noqa: E402
from src.share_kernel.infrastructure.outbox import enrolment  # noqa: E402
from src.share_kernel.testing import isolated_bus, trace_bus  # noqa: E402

MIGRATED = Path(__file__).with_name("migrated.sqlite3").read_bytes()
SIGNALS = [(item, list(item.receivers)) for item in gc.get_objects() if isinstance(item, Signal)]
PAGE = "page_live"
connection.ensure_connection()


def run_page(request: str, tell: Tell) -> None:
    """Exécute les premiers blocs d’une page, dans l’ordre, jusqu’à la première erreur.

    Args:
        request: en JSON, le nom de la page et ses blocs.
        tell: reçoit, en JSON, ce que chaque bloc a fait.
    """
    asked = json.loads(request)
    _forget_the_last_run()
    module = sys.modules[PAGE] = ModuleType(PAGE)
    with isolated_bus():
        dispatch.enrol_with(enrolment.enrol if asked["page"] in DURABLE_PAGES else None)
        for number, block in enumerate(asked["blocks"]):
            done = run_block(Block(**block), f"<{number + 1}>", module)
            tell(json.dumps({"number": number, **done}))
            if done["error"]:
                break


def _forget_the_last_run() -> None:
    connection.run_on_commit, connection.savepoint_ids = [], []
    connection.in_atomic_block = connection.needs_rollback = False
    connection.atomic_blocks = []
    connection.connection.rollback()
    connection.set_autocommit(True)
    connection.connection.deserialize(MIGRATED)
    for signal, receivers in SIGNALS:
        signal.receivers = list(receivers)
        signal.sender_receivers_cache.clear()
    log.taken()


def run_block(block: Block, path: str, module: ModuleType) -> dict[str, Any]:
    """Exécute un bloc ; renvoie ce qu’il affiche, l’erreur qui l’arrête et ce qui a eu lieu."""
    lines = block.code.splitlines(keepends=True)
    linecache.cache[path] = (len(block.code), None, lines, path)
    printed, error = io.StringIO(), None
    with trace_bus() as trace:
        try:
            block.run(module, path, printed=printed)
        except BaseException as failure:
            error = described(failure, path)
    return {
        "output": printed.getvalue(),
        "same": error is None and block.is_shown(printed.getvalue()),
        "error": error,
        "log": log.taken(),
        "steps": [asdict(step) for step in trace.steps],
    }


def described(error: BaseException, path: str) -> dict[str, Any]:
    """Dit l’erreur à partir de la ligne du lecteur."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return {
        "line": error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1],
        "message": "".join(traceback.format_exception_only(error)).strip(),
        "traceback": "".join(traceback.format_exception(error)),
    }
