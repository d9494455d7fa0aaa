"""Fait tourner le relais."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections

from ....dispatch import transport_if
from ....logs import describe, logger
from ...relay import let_go, relay
from ...waking import Listener
from ._options import add_database, processes

IDLE = 0.5  # seconds between two looks at an empty register
BROKEN = 2.0  # seconds between two tries of a database that fails, or of a process that ended


class Command(BaseCommand):
    """Renvoie les réveils restés sans effet, ou livre lui-même avec ``--execute``."""

    help = "Send the wake-ups of late deliveries again, or deliver them here with --execute."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument(
            "--execute", action="store_true", help="run the handlers here: no Celery, no broker"
        )
        parser.add_argument("--once", action="store_true", help="stop when nothing is late")
        parser.add_argument(
            "--workers", type=processes, default=1, help="how many processes (default: 1)"
        )
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Tourne jusqu’à SIGTERM ou SIGINT ; finit d’abord la livraison en cours."""
        stop = _stop_on_signals()
        using, execute = options["database"], options["execute"]
        if not execute and not transport_if(lambda one: one.is_configured(), "relay_events"):
            raise CommandError(
                "Celery has no broker here, so there is nobody to wake up. Pass --execute to run "
                "the handlers in this process, or configure a broker."
            )
        self.stdout.write(f"Relaying {using}{', executing' if execute else ''}. Stop with Ctrl-C.")
        self.stdout.flush()
        run = {"using": using, "execute": execute, "once": options["once"], "stop": stop}
        if options["workers"] == 1:
            self._relay(**run)
        else:
            self._supervise(options["workers"], run)

    def _relay(self, *, using: str, execute: bool, once: bool, stop: threading.Event) -> None:
        shows, total = self.stdout.isatty(), 0
        listener, idle = Listener(using), False
        parent = multiprocessing.parent_process()  # that of --workers
        while not stop.is_set() and (parent is None or parent.is_alive()):
            count = self._once(using, execute=execute, stop=stop, idle=idle)
            total += count or 0
            idle = not count  # a connection is kept until a second turn finds nothing
            if shows and count:
                self.stdout.write(f"\r{total} relayed", ending="")
                self.stdout.flush()
            if once and not count:
                if count is None:
                    raise CommandError("The database failed: see the log.")
                break
            if count is None:
                stop.wait(BROKEN)
            elif not count and execute:
                listener.wait(IDLE, stop)
            elif not count:
                stop.wait(IDLE)
        listener.close()
        self.stdout.write(f"{total} relayed.")

    def _supervise(self, count: int, run: dict[str, Any]) -> None:
        """Garde autant de processus en vie, et leur transmet l’arrêt."""
        stop, context = run["stop"], multiprocessing.get_context("fork")  # its handlers too
        connections.close_all()  # a process must not inherit a connection

        def work() -> None:
            self._relay(**run | {"stop": _stop_on_signals(stop)})

        def started() -> Any:
            process = context.Process(target=work)
            process.start()
            return process

        running = [started() for _ in range(count)]
        while running and not stop.is_set():
            wait([*stop.readers, *(process.sentinel for process in running)])
            ended = [process for process in running if not process.is_alive()]
            running = [process for process in running if process not in ended]
            for process in ended:
                if run["once"] and process.exitcode == 0:
                    continue
                logger.error("Relay process %s ended (%s).", process.pid, process.exitcode)
                if run["once"]:
                    raise CommandError("A relay process failed: see the log.")
                stop.wait(BROKEN)
                running.append(started())
        for process in running:
            process.join()

    def _once(self, using: str, *, execute: bool, stop: threading.Event, idle: bool) -> int | None:
        """Renvoie combien de livraisons, ou ``None`` si la base a échoué : elle peut redémarrer."""
        try:
            count = relay(using, execute=execute, stop=stop.is_set)
            let_go(idle=idle and not count)
        except Exception as error:  # whatever it is, the next turn may be well
            logger.warning(
                "The relay cannot use the database %s, it will try again: %s",
                using,
                describe(error),
                exc_info=None if isinstance(error, DatabaseError | InterfaceError) else error,
            )
            connections[using].close()
            return None
        return count


class Stop(threading.Event):
    """Une demande d’arrêt, que voient aussi les processus nés de celui-ci."""

    # A pipe: a signal may come while a method of Event holds its lock, and would wait there for
    # ever; and a process that is being born may lose a signal that is passed on to it.
    def __init__(self, *others: Stop) -> None:
        super().__init__()
        reader, self.writer = os.pipe()
        self.readers: list[int] = [reader, *(one for other in others for one in other.readers)]

    def set(self) -> None:
        """Demande l’arrêt, même au milieu d’une autre méthode."""
        os.write(self.writer, b".")

    def is_set(self) -> bool:
        """Dit si l’arrêt est demandé."""
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Attend la demande, *timeout* secondes au plus ; dit si elle est là."""
        return bool(wait(self.readers, timeout))


def _stop_on_signals(*others: Stop) -> Stop:
    stop = Stop(*others)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
