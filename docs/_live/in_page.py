"""Exécute les blocs d’une page dans le navigateur, sur le même Django, la même base, le même bus.

Chaque demande repart d’une base vide et refait les blocs depuis le premier.
"""

from __future__ import annotations

import gc
import io
import json
import linecache
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from alone import log
from blocks import DURABLE_PAGES, Block
from django.db import connection
from django.dispatch import Signal

from src.share_kernel.infrastructure import dispatch
from src.share_kernel.infrastructure.outbox import enrolment
from src.share_kernel.testing import isolated_bus, trace_bus

Tell = Callable[[str], None]

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
