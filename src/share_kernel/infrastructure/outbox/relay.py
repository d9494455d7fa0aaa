"""Le relais : renvoyer les réveils restés sans effet, ou livrer lui-même."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connections

from ..dispatch import Transport, Unsent, post, transport_if
from ..logs import describe
from .delivering import deliver_due, drop_broken_connections
from .enrolment import wake_ups
from .models import Delivery
from .waking import notify

WINDOW = 300  # wake-ups on their way, at most


def relay(using: str = "default", *, execute: bool = False, stop: Callable[[], bool] = bool) -> int:
    """Traite une fois les livraisons en retard ; renvoie combien.

    Plusieurs relais peuvent tourner : chacun saute ce que l’autre tient.

    Args:
        using: l’alias de la base de données.
        execute: livrer ici, sans Celery ni broker, plutôt que renvoyer un réveil.
        stop: interrogé entre deux livraisons ; ``True`` arrête là.
    """
    if execute:
        return deliver_due(using, stop=stop, goes_on=True)
    transport = transport_if(lambda one: one.is_ready(), f"the relay of {using}")
    return _send(using, transport) if transport else 0


def wake(using: str) -> None:
    """Réveille un worker, ou un relais qui attend, pour ce qui vient d’être rendu dû."""
    notify(using)
    relay(using)


def let_go(*, idle: bool) -> None:
    """Lâche les connexions inutilisables ou trop vieilles, sur toutes les bases, entre deux tours.

    Args:
        idle: le tour n’a rien trouvé ; ``CONN_MAX_AGE`` nul attend ce moment, car fermer à
            chaque livraison triplerait leur durée.
    """
    drop_broken_connections()
    for connection in connections.all(initialized_only=True):
        kept = connection.settings_dict["CONN_MAX_AGE"] == 0 and not idle
        if not kept and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _send(using: str, transport: Transport) -> int:
    """Renvoie des réveils, dans la limite d’une fenêtre.

    Sans elle, les renvois iraient plus vite que les workers et la file croîtrait.
    """
    rows = Delivery.objects.using(using)
    late = rows.lease(WINDOW - rows.on_their_way(WINDOW))
    unsent = post(transport, wake_ups(late, using), f"the relay of {using}")
    if unsent is None:
        unsent = [Unsent(row, None) for row in late]
    rows.not_sent(row.pk for row, refusal in unsent if refusal is None)
    for row, refusal in unsent:
        if refusal:
            rows.refused(row.pk, describe(refusal))
    return len(late) - len(unsent)
