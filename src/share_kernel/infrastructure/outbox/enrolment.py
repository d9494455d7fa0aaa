"""Inscrire les livraisons dans la transaction de celui qui publie, réveiller après le commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import connections, transaction
from django.utils import timezone

from ...domain.domain_event import DomainEvent, DomainEventError, PayloadError, UnknownHandlerError
from ..dispatch import Batch, Dispatch, Message, after_commit, post, transport_if
from ..handling import Verdict
from ..logs import identify
from ..registry import registry
from .delivering import deliver_now, readable
from .models import LEASE, DatabaseClock, Delivery, NextPosition, at_once, in_seconds
from .ordering import key_of
from .waking import notify

WAKE_SIZE = 100  # rows that one message wakes


def enrol(batch: Batch) -> None:
    """Écrit une ligne par événement et par handler, puis prévoit le réveil."""
    using, about = batch[0].using, identify(batch[0].payload)
    awake = transport_if(lambda transport: transport.is_ready(), about) is not None
    rows = _rows(batch, awake=awake)
    with transaction.atomic(using=using, savepoint=False):
        if _insert(rows, using) < len(rows):
            _check_conflicts(rows, using)
    several = any(item.payload is not batch[0].payload for item in batch)
    # Alone, deliveries run in parallel; published together, they share messages and keep an order.
    size = WAKE_SIZE if several else 1

    def wake_up(batch: Batch) -> None:
        if not awake:
            notify(using)
        elif transport := transport_if(lambda one: one.is_ready(batch[0].planned_at), about):
            post(transport, wake_ups(rows, using, size), about)

    after_commit(batch, wake_up, deliver=_deliver)


def wake_ups(rows: Iterable[Delivery], using: str, size: int = 1) -> Iterator[Message]:
    """Fait les messages qui réveillent un worker pour ces lignes.

    Un message ne porte que des identifiants de lignes : mauvais ou forgé, il ne peut que
    réveiller un worker.
    """
    by_queue: dict[str | None, list[Delivery]] = {}
    for row in rows:
        by_queue.setdefault(_queue_of(row), []).append(row)
    for queue, routed in by_queue.items():
        for start in range(0, len(routed), size):
            yield _wake_up(tuple(routed[start : start + size]), using, queue)


def _wake_up(rows: tuple[Delivery, ...], using: str, queue: str | None) -> Message:
    first = f"event {rows[0].event_type} {rows[0].event_id}, handler {rows[0].handler}"
    return Message(
        task="share_kernel.deliver",
        args=([str(row.pk) for row in rows], using),
        content=rows,
        about=first if len(rows) == 1 else f"{len(rows)} deliveries, the first of {first}",
        queue=queue,
        alone=lambda row: _wake_up((row,), using, queue),
    )


def _queue_of(row: Delivery) -> str | None:
    try:
        return registry.by_name(row.event_type, row.handler).queue
    except UnknownHandlerError:
        return None


def _rows(batch: Batch, *, awake: bool) -> list[Delivery]:
    now = timezone.now()
    # Leave the wake-up the time of a lease; without one, the relay may start at once.
    send_after = in_seconds(LEASE) if awake else at_once()
    return [
        Delivery(
            event_id=item.payload["event_id"],
            event_type=item.payload["event_type"],
            event_version=item.payload["event_version"],
            handler=item.subscription.name,
            depth=item.depth,
            payload=json.dumps(item.payload, allow_nan=False),
            sends=int(awake),
            position=NextPosition(rank),
            key=key_of(item),
            created_at=now,
            pending_since=DatabaseClock(),
            start_after=at_once(),
            send_after=send_after,
        )
        for rank, item in enumerate(batch, start=1)
    ]


def _insert(rows: Sequence[Delivery], using: str) -> int:
    """Insère les lignes nouvelles, en une requête ; renvoie combien."""
    inserted = 0

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001  (Django calls it so)
        nonlocal inserted
        result = execute(sql, params, many, context)
        if sql.startswith("INSERT"):
            inserted += context["cursor"].rowcount
        return result

    with connections[using].execute_wrapper(count):
        # An event published twice is delivered once.
        Delivery.objects.using(using).bulk_create(rows, ignore_conflicts=True)
    return inserted


def _check_conflicts(rows: Sequence[Delivery], using: str) -> None:
    """Une ligne refusée doit être celle d’un événement égal, déjà publié.

    Raises:
        PayloadError: un autre contenu sous le même ``event_id``.
    """
    events = {row.event_id for row in rows}
    known = Delivery.objects.using(using).filter(event_id__in=events)
    stored = {(str(row.event_id), row.handler): row for row in known}
    for row in rows:
        former = stored.get((str(row.event_id), row.handler))
        # It may be gone: settled meanwhile, it is deleted if KEEP_DONE is 0.
        if former and former.pk != row.pk and not _same_event(former, row):
            raise PayloadError(
                f"{row.event_type} {row.event_id} was already published for handler {row.handler} "
                "with another content. An event_id names one fact: build a new event rather than "
                "a copy of another."
            )


def _same_event(one: Delivery, other: Delivery) -> bool:
    """Compare les événements, pas leurs textes : un ensemble s’écrit dans tout ordre."""
    before, after = readable(one), readable(other)
    try:
        return DomainEvent.from_dict(before) == DomainEvent.from_dict(after)
    except DomainEventError:
        return bool(before == after)


def _deliver(item: Dispatch) -> Verdict:
    """Livre tout de suite, pour ``deliver_pending()``."""
    row = Delivery.objects.using(item.using).get(
        event_id=item.payload["event_id"], handler=item.subscription.name
    )
    return deliver_now(row, item.using)
