"""Publie sans relâche, jusqu’à SIGTERM."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from src.share_kernel.infrastructure.event_bus import publish_event, publish_events

from ...events import OrderPlaced
from ...models import Customer, Order

PAUSE = (0.05, 0.4)  # seconds between two transactions
CUSTOMERS = range(1, 6)
BULK = (2, 25)  # events; the largest ones make wake-ups travel together


class Command(BaseCommand):
    """Passe des commandes, une à une ou en lots, et en annule exprès."""

    help = "Place orders until SIGTERM: one by one, in bulk, and some rolled back on purpose."

    def handle(self, *args: Any, **options: Any) -> None:
        """Tire chaque transaction au sort."""
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        Customer.objects.bulk_create([Customer(pk=pk) for pk in CUSTOMERS], ignore_conflicts=True)
        while not stop.wait(random.uniform(*PAUSE)):
            (place,) = random.choices(
                [place_one, place_many, roll_back, roll_back_a_savepoint], weights=[80, 4, 8, 8]
            )
            place()


def place_one() -> None:
    """Une commande et son événement, ensemble."""
    with transaction.atomic():
        publish_event(new_order(a_customer()))


def place_many() -> None:
    """Plusieurs commandes, publiées d’un seul appel."""
    with transaction.atomic():
        customer = a_customer()
        publish_events([new_order(customer) for _ in range(random.randint(*BULK))])


def roll_back(customer: Customer | None = None) -> None:
    """Une commande annulée après sa publication."""
    try:
        with transaction.atomic():
            cancel(new_order(customer or a_customer()))
    except CancelledError:
        pass


def roll_back_a_savepoint() -> None:
    """Une commande gardée, et une annulée dans la même transaction."""
    with transaction.atomic():
        customer = a_customer()
        publish_event(new_order(customer))
        roll_back(customer)


def a_customer() -> Customer:
    """Verrouille un client, un seul par transaction : ses commandes ont alors un ordre."""
    return Customer.objects.select_for_update().get(pk=random.choice(CUSTOMERS))


def new_order(customer: Customer) -> OrderPlaced:
    """Écrit la commande suivante d’un client ; renvoie l’événement à publier."""
    customer.orders += 1
    customer.save()
    event = OrderPlaced(customer=customer.pk, rank=customer.orders)
    Order.objects.create(event_id=event.event_id)
    return event


def cancel(event: OrderPlaced) -> None:
    """Publie, note que rien ne doit en rester, et annule."""
    publish_event(event)
    with Path(os.environ["CHAOS_ROLLED_BACK"]).open("a") as file:
        file.write(f"{event.event_id}\n")
    raise CancelledError


class CancelledError(Exception):
    """Annule la transaction."""
