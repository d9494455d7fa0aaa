"""Six handlers : lent, instable, suicidaire, empoisonné, ordonné, et un qui va bien.

Chacun écrit son effet avant d’échouer : un essai raté ne doit rien laisser. Ceux qui ont une clé
notent aussi chaque départ, que rien n’annule.
"""

import os
import random
import time
from pathlib import Path

from django.apps import apps

from src.share_kernel.domain.domain_event import RetryAfter
from src.share_kernel.infrastructure.event_bus import subscribe_async

from .events import OrderPlaced
from .fatal import die
from .models import Effect

SLOW = 0.1  # share of the deliveries
FLAKY = 0.3
DEADLY = 40  # one event in so many
FATAL = 0.5  # share of the attempts on such an event
# On the light path, which keeps no order, a key is refused.
KEY = "customer" if apps.is_installed("src.share_kernel.infrastructure.outbox") else None


@subscribe_async(OrderPlaced, name="slow")
def slow(event: OrderPlaced) -> None:
    """Prend parfois son temps, au milieu de son travail."""
    leave_effect("slow", event)
    if random.random() < SLOW:
        time.sleep(random.uniform(0.2, 0.5))


@subscribe_async(OrderPlaced, name="flaky")
def flaky(event: OrderPlaced) -> None:
    """Échoue souvent."""
    leave_effect("flaky", event)
    stumble()


@subscribe_async(OrderPlaced, name="deadly")
def deadly(event: OrderPlaced) -> None:
    """Tue son propre processus sur certains événements, une fois sur deux."""
    leave_effect("deadly", event)
    fall(event)


@subscribe_async(OrderPlaced, name="poison", max_attempts=2, ordering_key=KEY)
def poison(event: OrderPlaced) -> None:
    """Échoue toujours ; abandonnée, une livraison libère la suivante de sa clé."""
    leave_start("poison", event)
    leave_effect("poison", event)
    raise ValueError("no paper left")


@subscribe_async(OrderPlaced, name="orderly", ordering_key=KEY)
def orderly(event: OrderPlaced) -> None:
    """Échoue souvent et meurt parfois ; la suivante de sa clé attend qu’il ait fini."""
    leave_start("orderly", event)
    leave_effect("orderly", event)
    fall(event)
    stumble()


@subscribe_async(OrderPlaced, name="ok")
def ok(event: OrderPlaced) -> None:
    """Réussit ; abonné en dernier, il attend les autres quand ils s’exécutent en ligne."""
    leave_effect("ok", event)


def leave_effect(handler: str, event: OrderPlaced) -> None:
    """Écrit la seule trace que le contrôle final compte."""
    Effect.objects.create(event_id=event.event_id, handler=handler)


def leave_start(handler: str, event: OrderPlaced) -> None:
    """Note un départ dans un fichier, que les processus écrivent à la suite."""
    with Path(os.environ["CHAOS_STARTS"]).open("a") as file:
        file.write(f"{event.event_id} {handler} {event.customer} {event.rank}\n")


def stumble() -> None:
    """Échoue souvent, en disant ou non quand revenir."""
    chance = random.random()
    if chance < FLAKY / 2:
        raise RetryAfter(0.1, "the printer is warming up")
    if chance < FLAKY:
        raise ValueError("the printer is jammed")


def fall(event: OrderPlaced) -> None:
    """Tue ce processus sur certains événements, une fois sur deux."""
    if event.event_id.int % DEADLY == 0 and random.random() < FATAL:
        die()
