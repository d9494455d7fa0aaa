"""La tâche qui réveille un worker."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from celery import shared_task
from django.db import connections

from ..logs import logger
from .delivering import deliver_due


# Acknowledged at once: the row remembers the work, and the relay wakes it again.
@shared_task(name="share_kernel.deliver", ignore_result=True, acks_late=False)
def deliver(ids: list[str], using: str = "default") -> None:
    """Livre des lignes du registre, si leur heure est venue.

    Args:
        ids: des identifiants de :class:`.Delivery` ; tout autre contenu est ignoré.
        using: l’alias de la base de données.
    """
    if using not in connections:
        logger.error("A wake-up names a database: %r doesn't exist here.", using)
        return
    deliver_due(using, list(_identifiers(ids)))


def _identifiers(texts: object) -> Iterator[UUID]:
    for text in texts if isinstance(texts, list) else []:
        try:
            yield UUID(text)
        except (ValueError, TypeError, AttributeError):
            logger.error("A wake-up names %r, which is not a delivery.", f"{text!r:.100}")
