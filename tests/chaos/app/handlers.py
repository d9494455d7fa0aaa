"""Cinq handlers : lent, instable, suicidaire, empoisonné, et un qui va bien.

Chacun écrit son effet avant d’échouer : un essai raté ne doit rien laisser.
"""

import random
import time

from src.share_kernel.domain.domain_event import RetryAfter
from src.share_kernel.infrastructure.event_bus import subscribe_async

from .events import OrderPlaced
from .fatal import die
from .models import Effect

SLOW = 0.1  # share of the deliveries
FLAKY = 0.3
DEADLY = 40  # one event in so many
FATAL = 0.5  # share of the attempts on such an event


@subscribe_async(OrderPlaced, name="slow")
def slow(event: OrderPlaced) -> None:
    """Prend parfois son temps, au milieu de son travail."""
    leave_effect("slow", event)
    if random.random() < SLOW:
        time.sleep(random.uniform(0.2, 0.5))


@subscribe_async(OrderPlaced, name="flaky")
def flaky(event: OrderPlaced) -> None:
    """Échoue souvent, en disant ou non quand revenir."""
    leave_effect("flaky", event)
    chance = random.random()
    if chance < FLAKY / 2:
        raise RetryAfter(0.1, "the printer is warming up")
    if chance < FLAKY:
        raise ValueError("the printer is jammed")


@subscribe_async(OrderPlaced, name="deadly")
def deadly(event: OrderPlaced) -> None:
    """Tue son propre processus sur certains événements, une fois sur deux."""
    leave_effect("deadly", event)
    if event.event_id.int % DEADLY == 0 and random.random() < FATAL:
        die()


@subscribe_async(OrderPlaced, name="poison", max_attempts=2)
def poison(event: OrderPlaced) -> None:
    """Échoue toujours."""
    leave_effect("poison", event)
    raise ValueError("no paper left")


@subscribe_async(OrderPlaced, name="ok")
def ok(event: OrderPlaced) -> None:
    """Réussit ; abonné en dernier, il attend les autres quand ils s’exécutent en ligne."""
    leave_effect("ok", event)


def leave_effect(handler: str, event: OrderPlaced) -> None:
    """Écrit la seule trace que le contrôle final compte."""
    Effect.objects.create(event_id=event.event_id, handler=handler)
