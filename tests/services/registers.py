"""Le registre d’une base, manié dans ce processus : de vraies transactions, de vrais serveurs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.db import connections, transaction
from django.db.models import F

from src.module.accounting.models import LedgerEntry
from src.share_kernel.infrastructure.outbox.management.commands.relay_events import Command
from src.share_kernel.infrastructure.outbox.models import Delivery, DeliveryQuerySet
from src.share_kernel.infrastructure.outbox.relay import relay

from .databases import alias, ask_mariadb, ask_postgresql
from .stack import eventually


@dataclass(frozen=True)
class Register:
    """Un alias de Django, sa base, et ce qu’on y regarde."""

    using: str
    url: str

    @property
    def is_mariadb(self) -> bool:
        return self.url.startswith("mysql")

    @property
    def rows(self) -> DeliveryQuerySet:
        return Delivery.objects.using(self.using)

    def row(self, handler: str) -> Delivery:
        return self.rows.get(handler=handler)

    def states(self) -> dict[str, str]:
        return dict(self.rows.values_list("handler", "state"))

    def leave_effect(self, label: str) -> None:
        LedgerEntry.objects.using(self.using).create(invoice_number=label, amount=1)

    def effects(self) -> list[str]:
        entries = LedgerEntry.objects.using(self.using)
        return sorted(entries.values_list("invoice_number", flat=True))

    def turn(self) -> int:
        """Un tour de ``relay_events --execute``, sans sa boucle."""
        return relay(self.using, execute=True)

    def turn_of_the_command(self) -> int | None:
        """Le même, avec ce que la boucle fait autour."""
        return Command()._once(self.using, execute=True, stop=threading.Event(), idle=True)

    def bring_forward(self) -> None:
        """Fait comme si les délais étaient écoulés."""
        day = timedelta(days=1)
        self.rows.filter(state="pending").update(
            start_after=F("start_after") - day, send_after=F("send_after") - day
        )

    def lapse(self) -> None:
        """Fait comme si les réservations étaient éteintes, sauf de ce qui s’exécute."""
        with transaction.atomic(using=self.using):
            reserved = Delivery.objects.using(self.using).filter(reserved_until__isnull=False)
            ids = list(reserved.values_list("pk", flat=True))
            lapsed = F("reserved_until") - timedelta(days=1)
            reserved.unlocked(ids).update(reserved_until=lapsed)

    def drain(self) -> None:
        """Livre, tour après tour, jusqu’à ce que rien n’attende."""
        eventually(
            lambda: not (self.turn() or self.rows.filter(state="pending").exists()),
            "nothing is pending",
        )

    def attempts(self) -> list[int]:
        """Renvoie les essais de chaque ligne, dans l’ordre de publication."""
        return list(self.rows.order_by("position").values_list("attempts", flat=True))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Interroge le serveur sur une autre connexion que celle de l’alias."""
        return (ask_mariadb if self.is_mariadb else ask_postgresql)(self.url, sql)

    def session(self) -> int:
        """Renvoie le numéro que le serveur donne à la connexion de l’alias."""
        sql = "SELECT connection_id()" if self.is_mariadb else "SELECT pg_backend_pid()"
        with connections[self.using].cursor() as cursor:
            cursor.execute(sql)
            (number,) = cursor.fetchone()
        return int(number)

    def end(self, session: int) -> None:
        """Le serveur ferme une connexion, comme un administrateur ou un redémarrage."""
        kill = f"KILL {session}" if self.is_mariadb else f"SELECT pg_terminate_backend({session})"
        if self.is_alive(session):
            self.ask(kill)
        self.wait_for_end_of(session)

    def wait_for_end_of(self, session: int) -> None:
        eventually(lambda: not self.is_alive(session), f"the end of session {session}")

    def is_alive(self, session: int) -> bool:
        mariadb = f"SELECT 1 FROM information_schema.processlist WHERE id = {session}"
        postgresql = f"SELECT 1 FROM pg_stat_activity WHERE pid = {session}"
        return bool(self.ask(mariadb if self.is_mariadb else postgresql))

    def create_tables(self) -> None:
        for app in ("share_kernel_outbox", "accounting"):
            call_command("migrate", app, database=self.using, verbosity=0)

    def empty(self) -> None:
        self.rows.all().delete()
        LedgerEntry.objects.using(self.using).all().delete()


@contextlib.contextmanager
def register_at(using: str, url: str, **options: Any) -> Iterator[Register]:
    """Le registre de la base à *url*, vide, sous un alias qui a ces ``OPTIONS``."""
    with alias(using, url, **options):
        register = Register(using, url)
        if Delivery._meta.db_table not in connections[using].introspection.table_names():
            register.create_tables()
        register.empty()
        yield register


def in_parallel(register: Register, *turns: Any) -> list[BaseException]:
    """Exécute chaque fonction dans un fil qui a sa connexion ; renvoie ce qu’elles ont levé."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(turns))

    def work(turn: Any) -> None:
        try:
            barrier.wait()
            turn()
        except BaseException as error:
            errors.append(error)
        finally:
            connections[register.using].close()

    threads = [threading.Thread(target=work, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
