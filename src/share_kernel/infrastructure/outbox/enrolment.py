"""Inscrire les livraisons dans la transaction de celui qui publie, réveiller après le commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from .. import dispatch
from ..dispatch import Batch, Dispatch
from ..subscriptions import Subscription
from .delivering import LEASE, deliver_now
from .models import Delivery

WAKE_SIZE = 100  # rows that one message wakes


def enrol(batch: Batch) -> None:
    """Écrit une ligne par événement et par handler, puis prévoit le réveil."""
    awake = dispatch.celery_is_available()
    now = timezone.now()
    # Leave the wake-up the time of a lease; without one, the relay may start at once.
    send_after = now + timedelta(seconds=LEASE) if awake else now
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
            start_after=now,
            send_after=send_after,
        )
        for item in batch
        for subscription in item.subscriptions
    ]
    # An event published twice is delivered once.
    Delivery.objects.using(batch[0].using).bulk_create(rows, ignore_conflicts=True)
    ids = [row.pk for row in rows]
    queues = [subscription.queue for item in batch for subscription in item.subscriptions]

    def wake_up(batch: Batch) -> None:
        if awake and not dispatch.breaker.is_open(batch[0].planned_at):
            send_wake_ups(list(zip(ids, queues, strict=True)), batch[0].using)

    dispatch.after_commit(batch, wake_up, attempt=_deliver)


def send_wake_ups(rows: Sequence[tuple[UUID, str | None]], using: str) -> bool:
    """Envoie à Celery l’ordre de livrer ces lignes ; ``False`` si le broker échoue.

    Le message ne porte que des identifiants de lignes : mauvais ou forgé, il ne peut que
    réveiller un worker.
    """
    from ..tasks import publish
    from .tasks import deliver

    # One row a message, so that deliveries run in parallel; a bulk publication shares them.
    size = 1 if len(rows) < WAKE_SIZE else WAKE_SIZE
    for queue in dict.fromkeys(queue for _, queue in rows):
        ids = [str(pk) for pk, wanted in rows if wanted == queue]
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            about = f"{len(part)} deliveries, from {part[0]}"
            sent = dispatch.try_broker(
                lambda on_retry, part=part, about=about, queue=queue: publish(  # type: ignore[misc]
                    deliver, (part, using), on_retry, about=about, queue=queue
                ),
                about,
            )
            if not sent:
                return False
    return True


def _deliver(item: Dispatch, subscription: Subscription) -> None:
    """Livre tout de suite, pour ``deliver_pending()`` ; l’erreur du handler remonte."""
    row = Delivery.objects.using(item.using).get(
        event_id=item.payload["event_id"], handler=subscription.name
    )
    deliver_now(row, item.using)
