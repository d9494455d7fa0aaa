"""Inscrire les livraisons dans la transaction de celui qui publie, réveiller après le commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from .. import broker, dispatch
from ..broker import OnRetry
from ..dispatch import Batch, Dispatch
from ..subscriptions import Subscription
from .delivering import LEASE, deliver_now
from .models import Delivery

WAKE_SIZE = 100  # rows that one message wakes


def enrol(batch: Batch) -> None:
    """Écrit une ligne par événement et par handler, puis prévoit le réveil."""
    awake = broker.is_available()
    now = timezone.now()
    # Leave the wake-up the time of a lease; without one, the relay may start at once.
    send_after = now + timedelta(seconds=LEASE) if awake else now
    planned = [(item, subscription) for item in batch for subscription in item.subscriptions]
    rows = [
        Delivery(
            event_id=item.payload["event_id"],
            event_type=item.payload["event_type"],
            event_version=item.payload["event_version"],
            handler=subscription.name,
            depth=item.depth,
            payload=json.dumps(item.payload, allow_nan=False),
            sends=int(awake),
            created_at=now,
            pending_since=now,
            start_after=now + timedelta(microseconds=position),  # the order of publication
            send_after=send_after,
        )
        for position, (item, subscription) in enumerate(planned)
    ]
    # An event published twice is delivered once.
    Delivery.objects.using(batch[0].using).bulk_create(rows, ignore_conflicts=True)
    wanted = [(row.pk, item[1].queue) for row, item in zip(rows, planned, strict=True)]
    # Alone, deliveries run in parallel; published together, they share messages and keep an order.
    size = WAKE_SIZE if len(batch) > 1 else 1

    def wake_up(batch: Batch) -> None:
        if awake and not broker.breaker.is_open(batch[0].planned_at):
            send_wake_ups(wanted, batch[0].using, size)

    dispatch.after_commit(batch, wake_up, attempt=_deliver)


def send_wake_ups(rows: Sequence[tuple[UUID, str | None]], using: str, size: int = 1) -> list[UUID]:
    """Envoie à Celery l’ordre de livrer ces lignes ; renvoie celles dont l’envoi a échoué.

    Le message ne porte que des identifiants de lignes : mauvais ou forgé, il ne peut que
    réveiller un worker.
    """
    unsent: list[UUID] = []
    for queue in dict.fromkeys(queue for _, queue in rows):
        ids = [pk for pk, wanted in rows if wanted == queue]
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            if unsent or not _send_wake_up(part, using, queue):
                unsent += part
    return unsent


def _send_wake_up(ids: list[UUID], using: str, queue: str | None) -> bool:
    from ..tasks import publish
    from .tasks import deliver

    about = f"{len(ids)} deliveries, the first {ids[0]}"
    arguments = ([str(pk) for pk in ids], using)

    def send(on_retry: OnRetry) -> None:
        publish(deliver, arguments, on_retry, about=about, queue=queue)

    return broker.attempt(send, about)


def _deliver(item: Dispatch, subscription: Subscription) -> None:
    """Livre tout de suite, pour ``deliver_pending()`` ; l’erreur du handler remonte."""
    row = Delivery.objects.using(item.using).get(
        event_id=item.payload["event_id"], handler=subscription.name
    )
    deliver_now(row, item.using)
