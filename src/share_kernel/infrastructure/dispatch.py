"""Ce qui se passe après le commit : Celery, ou le repli dans le processus."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.db import transaction

from ..domain.domain_event import DomainEvent
from . import broker
from .handling import handle
from .logs import log_given_up
from .subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Un événement publié et les handlers asynchrones qui l’attendent."""

    payload: dict[str, Any]
    subscriptions: tuple[Subscription, ...]
    depth: int
    using: str
    planned_at: float = field(default_factory=time.monotonic)


Batch: TypeAlias = Sequence[Dispatch]

# Takes charge of a batch in the publisher’s transaction. The durable register is another one.
Enrol: TypeAlias = Callable[[Batch], None]


def after_commit(
    batch: Batch,
    then: Callable[[Batch], None],
    attempt: Callable[[Dispatch, Subscription], None] | None = None,
) -> None:
    """Appelle *then* quand la transaction qui publie est validée, jamais si elle est annulée.

    Args:
        batch: ce qui est publié d’un seul appel, donc sous un même point de sauvegarde.
        then: envoie ou exécute le lot.
        attempt: exécute un handler ici, pour ``deliver_pending()``.
    """

    def run() -> None:  # a def: on Django 5.2, robust=True fails on a functools.partial
        then(batch)

    run.batch, run.attempt = batch, attempt or attempt_here  # type: ignore[attr-defined]
    transaction.on_commit(run, using=batch[0].using, robust=True)


def enrol_in_process(batch: Batch) -> None:
    """Prévoit l’exécution dans ce processus, après le commit."""
    after_commit(batch, run_here)


def enrol_for_celery(batch: Batch) -> None:
    """Prévoit l’envoi à Celery après le commit, avec repli dans le processus."""
    after_commit(batch, send_or_run)


def send_or_run(batch: Batch) -> None:
    """Envoie à Celery ; ce qui n’a pas pu l’être s’exécute ici."""
    unsent = batch
    if broker.is_available() and not broker.breaker.is_open(batch[0].planned_at):
        unsent = _send(batch)
    run_here(unsent)


def run_here(batch: Batch) -> None:
    """Exécute les handlers ici, dans l’ordre ; l’échec de l’un n’arrête pas les autres."""
    for dispatch in batch:
        for subscription in dispatch.subscriptions:
            try:
                attempt_here(dispatch, subscription)
            except Exception as error:  # nothing may escape into the request that has committed
                log_given_up(dispatch.payload, subscription.name, error)


def attempt_here(dispatch: Dispatch, subscription: Subscription) -> None:
    """Exécute un handler ici, une fois ; son exception remonte."""
    event = DomainEvent.from_dict(dispatch.payload)
    handle(subscription, event, depth=dispatch.depth, using=dispatch.using)


def _send(batch: Batch) -> Batch:
    """Envoie le lot en aussi peu de messages que possible ; renvoie ce qui n’est pas parti."""
    from .tasks import messages_for

    unsent: list[Dispatch] = []
    for message in messages_for(batch):
        if unsent or not broker.attempt(message.send, message.about):
            unsent += message.content
    return unsent
