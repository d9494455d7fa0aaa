"""Le relais : renvoyer les réveils restés sans effet, ou livrer lui-même."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from .. import broker
from ..event_bus import event_bus
from .delivering import LEASE, deliver_row, due
from .enrolment import send_wake_ups
from .models import Delivery

WINDOW = 300  # wake-ups on their way, at most
MAX_DOUBLINGS = 6  # of the lease: about ten minutes


def relay(using: str = "default", *, execute: bool = False, stop: Callable[[], bool] = bool) -> int:
    """Traite une fois les livraisons en retard ; renvoie combien.

    Plusieurs relais peuvent tourner : chacun saute ce que l’autre tient.

    Args:
        using: l’alias de la base de données.
        execute: livrer ici, sans Celery ni broker, plutôt que renvoyer un réveil.
        stop: interrogé entre deux livraisons ; ``True`` arrête là.
    """
    return _execute(using, stop) if execute else _send(using)


def _execute(using: str, stop: Callable[[], bool]) -> int:
    ids = due(using, timezone.now()).order_by("start_after").values_list("pk", flat=True)[:WINDOW]
    count = 0
    for pk in list(ids):
        if stop():
            break
        count += deliver_row(pk, using)
    return count


def _send(using: str) -> int:
    """Renvoie des réveils, dans la limite d’une fenêtre ; chaque renvoi double le bail.

    Sans l’une et l’autre, les renvois iraient plus vite que les workers et la file croîtrait.
    """
    if not broker.is_available() or broker.breaker.is_open(float("inf")):
        return 0
    now = timezone.now()
    with transaction.atomic(using=using):
        pending = Delivery.objects.using(using).filter(state=Delivery.State.PENDING)
        free = WINDOW - pending.filter(sends__gt=0, send_after__gt=now).count()
        rows = due(using, now).filter(send_after__lte=now).order_by("send_after")
        if connections[using].features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        late = list(rows.only("pk", "sends", "event_type", "handler")[: max(free, 0)])
        for row in late:
            row.send_after = now + timedelta(seconds=LEASE * 2 ** min(row.sends, MAX_DOUBLINGS))
            row.sends += 1
        Delivery.objects.using(using).bulk_update(late, ["send_after", "sends"])
    unsent = send_wake_ups([(row.pk, _queue_of(row)) for row in late], using)
    if unsent:
        # Not on their way: an outage would fill the window and double leases for nothing, and
        # the return of the broker would be noticed minutes later.
        rows = due(using, now).filter(pk__in=unsent, sends__gt=0)
        rows.update(sends=F("sends") - 1, send_after=now)
    return len(late) - len(unsent)


def _queue_of(row: Delivery) -> str | None:
    for item in event_bus.subscriptions():
        if item.is_async and (item.event_type, item.name) == (row.event_type, row.handler):
            return item.queue
    return None
