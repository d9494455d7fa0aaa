"""Réveiller le relais avant son tour : PostgreSQL le prévient, après le commit."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from ..logs import describe, logger

CHANNEL = "share_kernel_outbox"
INTERVAL = 0.05  # seconds: one notification an interval, a process and a database

# Of its own transaction, which need not wait for the disk: the rows are committed already.
_NOTIFY = f"BEGIN; SET LOCAL synchronous_commit TO off; NOTIFY {CHANNEL}; COMMIT"


class _Notices:
    """Quand une base a été prévenue, et si elle doit l’être encore."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last: dict[str, float] = defaultdict(float)
        self.planned: set[str] = set()


_notices = _Notices()
if hasattr(os, "register_at_fork"):  # a planned notice belongs to a thread, which is not copied
    os.register_at_fork(after_in_child=_notices.__init__)  # type: ignore[misc]


def can_listen(using: str) -> bool:
    """Dit si la base et son pilote savent prévenir : PostgreSQL et ``psycopg`` 3."""
    connection: Any = connections[using]
    if connection.vendor != "postgresql":
        return False
    return bool(connection.Database.__version__.startswith("3"))


def notify(using: str) -> None:
    """Prévient le relais que des lignes sont dues ; au plus une fois toutes les 50 ms.

    Ce qui arrive entre deux est annoncé à la fin de ce délai, jamais oublié. Un échec ne
    coûte que l’attente du tour suivant.
    """
    if not can_listen(using) or connections[using].in_atomic_block:
        return
    with _notices.lock:
        early = _notices.last[using] + INTERVAL - time.monotonic()
        if early <= 0:
            _notices.last[using] = time.monotonic()
        elif using not in _notices.planned:
            _notices.planned.add(using)
            timer = threading.Timer(early, _notify_last, [using])
            timer.daemon = True
            timer.start()
    if early <= 0:
        _send(connections[using])


def _notify_last(using: str) -> None:
    with _notices.lock:
        _notices.planned.discard(using)
        _notices.last[using] = time.monotonic()
    with suppress(ConnectionDoesNotExist):  # a test may have taken the alias away
        connection: Any = connections[using]  # that of this thread
        _send(connection)
        connection.close()


def _send(connection: Any) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NOTIFY)
    except Exception as error:  # the rows are there: only the next turn is waited for
        logger.warning("The relay of %s is not notified: %s", connection.alias, describe(error))


class Listener:
    """Attend qu’une base prévienne, sur une connexion à elle ; sinon, attend son tour."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._connection: Any = None

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Attend une notification, *seconds* au plus, ou l’arrêt.

        Ce qui est arrivé depuis la dernière attente compte.
        """
        if not can_listen(self.using):
            stop.wait(seconds)
            return
        wrapper: Any = connections[self.using]
        try:
            for _ in self._opened(wrapper).notifies(timeout=seconds, stop_after=1):
                pass
        except wrapper.Database.Error as error:
            logger.warning("The relay cannot listen to %s: %s", self.using, describe(error))
            self.close()
            stop.wait(seconds)

    def close(self) -> None:
        """Ferme la connexion ; la prochaine attente en ouvrira une autre."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self, wrapper: Any) -> Any:
        if self._connection is None:
            options = wrapper.get_connection_params() | {"autocommit": True}
            self._connection = wrapper.Database.connect(**options)
            self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection
