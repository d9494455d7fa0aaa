"""Fait tourner le relais."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections

from ....dispatch import slots
from ....logs import describe, logger
from ...relay import let_go, relay
from ._options import add_database

IDLE = 0.5  # seconds between two looks at an empty register
BROKEN = 2.0  # seconds between two tries of a database that fails


class Command(BaseCommand):
    """Renvoie les réveils restés sans effet, ou livre lui-même avec ``--execute``."""

    help = "Send the wake-ups of late deliveries again, or deliver them here with --execute."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument(
            "--execute", action="store_true", help="run the handlers here: no Celery, no broker"
        )
        parser.add_argument("--once", action="store_true", help="stop when nothing is late")
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Tourne jusqu’à SIGTERM ou SIGINT ; finit d’abord la livraison en cours."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        using, execute = options["database"], options["execute"]
        if not execute and not (slots.transport and slots.transport.is_configured()):
            raise CommandError(
                "Celery has no broker here, so there is nobody to wake up. Pass --execute to run "
                "the handlers in this process, or configure a broker."
            )
        shows = self.stdout.isatty()
        self.stdout.write(f"Relaying {using}{', executing' if execute else ''}. Stop with Ctrl-C.")
        total = 0
        while not stop.is_set():
            count = self._once(using, execute=execute, stop=stop)
            total += count or 0
            if shows and count:
                self.stdout.write(f"\r{total} relayed", ending="")
                self.stdout.flush()
            if options["once"] and not count:
                if count is None:
                    raise CommandError("The database failed: see the log.")
                break
            if not count:
                stop.wait(BROKEN if count is None else IDLE)
        self.stdout.write(f"{total} relayed.")

    def _once(self, using: str, *, execute: bool, stop: threading.Event) -> int | None:
        """Renvoie combien de livraisons, ou ``None`` si la base a échoué : elle peut redémarrer."""
        try:
            count = relay(using, execute=execute, stop=stop.is_set)
            let_go(idle=not count)
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
