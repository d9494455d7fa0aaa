"""Ce qui se passe après le commit : Celery, ou le repli dans le processus."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.db import transaction

from ..domain.domain_event import DomainEvent
from .breaker import CircuitBreaker
from .handling import handle
from .logs import log_given_up, logger
from .subscriptions import Subscription

try:
    import celery
except ImportError:  # Celery is optional
    celery = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Un événement publié et les handlers asynchrones qui l’attendent."""

    payload: dict[str, Any]
    subscriptions: tuple[Subscription, ...]
    depth: int
    using: str
    planned_at: float = field(default_factory=time.monotonic)


Batch: TypeAlias = Sequence[Dispatch]

# Called with each failure that the transport is about to retry.
OnRetry: TypeAlias = Callable[[Exception], None]

# Takes charge of a batch in the publisher’s transaction. The durable register is another one.
Enrol: TypeAlias = Callable[[Batch], None]

breaker = CircuitBreaker()


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
    if celery_is_available() and not breaker.is_open(batch[0].planned_at):
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


def celery_is_available() -> bool:
    """Dit si Celery est installé et configuré avec un broker ; ne l’interroge pas.

    Sous ``task_always_eager`` rien ne part : le repli fait de même, une seule fois.
    """
    conf = celery_conf()
    if conf is None:
        return False
    # Reading Celery’s settings costs a tenth of sending a task. Code changes them through
    # conf.changes: the answer is kept until one of these values does.
    state = (id(conf), *(str(conf.changes.get(key)) for key in _DECISIVE))
    if state not in _answers:
        _answers[state] = bool(broker_url(conf)) and not conf.task_always_eager
    return _answers[state]


def celery_conf() -> Any:
    """Renvoie la configuration de l’application Celery courante, ou ``None`` sans Celery."""
    return celery.current_app.conf if celery else None


def broker_url(conf: Any) -> Any:
    """Renvoie l’adresse du broker où publier : un texte, une liste, ou rien."""
    return conf.broker_write_url or conf.broker_url


_DECISIVE = ("broker_url", "broker_write_url", "task_always_eager")
_answers: dict[tuple[object, ...], bool] = {}


def try_broker(send: Callable[[OnRetry], object], about: str) -> bool:
    """Appelle *send* ; en cas d’échec, ouvre le disjoncteur, prévient et renvoie ``False``."""
    failures: list[Exception] = []
    try:
        send(failures.append)
    except Exception as error:  # whatever the transport raises, the event must survive
        breaker.trip()
        failures.append(error)
        doubt = (
            "The connection was refused, so nothing was sent."
            if all(map(_was_refused, failures))
            else "The message may have arrived all the same, so a handler may run twice."
        )
        logger.warning(
            "The broker failed on %s: %s %s Events take the other path until it is tried again.",
            about,
            error,
            doubt,
        )
        return False
    return True


def _send(batch: Batch) -> Batch:
    """Envoie le lot en aussi peu de messages que possible ; renvoie ce qui n’est pas parti."""
    from .tasks import messages_for

    unsent: list[Dispatch] = []
    for message in messages_for(batch):
        if unsent or not try_broker(message.send, message.about):
            unsent += message.content
    return unsent


def _was_refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False
