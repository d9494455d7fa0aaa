"""Ce que fait le processus « web » de ``--faults`` : une scène par panne, et sans panne."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from decimal import Decimal

import django
from django.db import transaction

from . import journal
from .journal import tell

ENV_FAULTS = "DEMO_FAULTS"
TITLES = {
    "commit": "An invoice is approved.",
    "rollback": "Another one is, then something fails in the same transaction.",
    "worker": "A worker is killed in the middle of a handler.",
    "broker": "The broker stops.",
}
KILLED, STOPPED, STARTED = "KILLED", "STOPPED", "STARTED"
HELD = "has written, its commit is to come"
LISTENS = "a Celery worker, listening to Redis"
WAITS = "no broker answers: the delivery waits in the register"


class CustomerVanishedError(Exception):
    """Ce qui fait annuler une transaction."""


def are_played() -> bool:
    """Dit si ce processus joue dans ``--faults``."""
    return ENV_FAULTS in os.environ


def lines() -> list[journal.Line]:
    """Renvoie ce que raconte déjà la scène en cours."""
    told = journal.read()
    starts = [number for number, line in enumerate(told) if line.when == "step"]
    return told[starts[-1] :] if starts else []


def wait_until(happened: Callable[[], bool]) -> None:
    """Attend un fait, sans limite : la démonstration s’arrête quand plus rien n’avance."""
    parent = os.getppid()
    while not happened():
        if os.getppid() != parent:
            sys.exit("The demo was killed.")
        time.sleep(0.02)


def play_handler(call: Callable[[], None], name: str) -> None:
    """Exécute un handler asynchrone et le raconte.

    Dans la scène du worker, le retient après ses écritures : on tue alors son processus.
    """
    call()
    if lines()[0].what == TITLES["worker"] and not _has(KILLED):
        tell("after commit", f"{name} {HELD}")
        wait_until(lambda: False)
    transaction.on_commit(lambda: tell("after commit", f"{name} done"))


def main(names: list[str]) -> None:
    """Joue des scènes, chacune quand la précédente est finie."""
    for number, name in enumerate(TITLES, start=1):
        if name in names:
            tell("step", TITLES[name])
            SCENES[name](f"F-{number}")


def _commit(number: str) -> None:
    _approve(number)
    wait_until(_is_done)


def _rollback(number: str) -> None:
    from src.module.accounting.models import LedgerEntry

    try:
        with transaction.atomic():
            _approve(number, commits=False)
            raise CustomerVanishedError
    except CustomerVanishedError:
        entries = LedgerEntry.objects.filter(invoice_number=number).count()
        tell("ROLLBACK", f"ledger entries: {entries}, deliveries: {_pending()}; no one will know")


def _worker(number: str) -> None:
    _approve(number)
    wait_until(_is_done)
    tell("in the end", f"attempts: {_attempts()}, notifications: {_notifications(number)}")


def _broker(number: str) -> None:
    wait_until(lambda: _has(STOPPED))
    _approve(number)
    if _pending():
        tell("after commit", WAITS)
    wait_until(_is_done)
    tell("in the end", f"attempts: {_attempts()}, notifications: {_notifications(number)}")


def _approve(number: str, *, commits: bool = True) -> None:
    from src.module.invoicing.models import Invoice
    from src.module.invoicing.services import approve_invoice

    invoice = Invoice.objects.create(number=number, customer_email="a@b.fr", total=Decimal(90))
    with transaction.atomic():
        approve_invoice(invoice.pk)
        if commits:  # told before: after it, the other process might speak first
            tell("COMMIT", "the invoice, its ledger entry and the delivery to come, together")


def _has(when: str) -> bool:
    return any(line.when == when for line in lines())


def _is_done() -> bool:
    return any(line.when == "after commit" and line.what.endswith(" done") for line in lines())


def _pending() -> int:
    from src.share_kernel.infrastructure.outbox.models import Delivery

    return Delivery.objects.filter(state=Delivery.State.PENDING).count()


def _attempts() -> int:
    from src.share_kernel.infrastructure.outbox.models import Delivery

    return Delivery.objects.latest("position").attempts


def _notifications(number: str) -> int:
    from src.module.notification.models import Notification

    return Notification.objects.filter(subject__contains=f"{number} ").count()


SCENES = {"commit": _commit, "rollback": _rollback, "worker": _worker, "broker": _broker}

if __name__ == "__main__":
    django.setup()
    main(sys.argv[1:])
