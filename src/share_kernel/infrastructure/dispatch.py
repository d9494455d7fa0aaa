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
from .logs import identify, log_given_up, logger
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


# Takes charge of a dispatch in the publisher’s transaction. The durable register is another one.
Enrol: TypeAlias = Callable[[Dispatch], None]

breaker = CircuitBreaker()


def after_commit(dispatch: Dispatch, then: Callable[[Dispatch], None]) -> None:
    """Appelle *then* quand la transaction qui publie est validée, jamais si elle est annulée."""

    def run() -> None:  # a def: on Django 5.2, robust=True fails on a functools.partial
        then(dispatch)

    run.dispatch = dispatch  # type: ignore[attr-defined]  # share_kernel.testing finds it there
    transaction.on_commit(run, using=dispatch.using, robust=True)


def enrol_in_process(dispatch: Dispatch) -> None:
    """Prévoit l’exécution dans ce processus, après le commit."""
    after_commit(dispatch, run_here)


def enrol_for_celery(dispatch: Dispatch) -> None:
    """Prévoit l’envoi à Celery après le commit, avec repli dans le processus."""
    after_commit(dispatch, send_or_run)


def send_or_run(dispatch: Dispatch) -> None:
    """Envoie à Celery ; ce qui n’a pas pu l’être s’exécute ici."""
    unsent: Sequence[Subscription] = dispatch.subscriptions
    if celery_is_available() and not breaker.is_open(dispatch.planned_at):
        unsent = _send(dispatch)
    if unsent:
        run_here(dispatch, unsent)


def run_here(dispatch: Dispatch, subscriptions: Sequence[Subscription] | None = None) -> None:
    """Exécute les handlers ici, dans l’ordre ; l’échec de l’un n’arrête pas les autres."""
    for subscription in dispatch.subscriptions if subscriptions is None else subscriptions:
        try:
            event = DomainEvent.from_dict(dispatch.payload)
            handle(subscription, event, depth=dispatch.depth, using=dispatch.using)
        except Exception as error:  # nothing may escape into the request that has committed
            log_given_up(dispatch.payload, subscription.name, error)


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


def _send(dispatch: Dispatch) -> Sequence[Subscription]:
    """Envoie une tâche par handler et renvoie ceux dont l’envoi a échoué."""
    from .tasks import send

    for position, subscription in enumerate(dispatch.subscriptions):
        failures: list[Exception] = []
        try:
            send(dispatch, subscription, failures)
        except Exception as error:  # whatever the transport raises, the event must survive
            breaker.trip()
            _warn(dispatch, subscription, [*failures, error])
            return dispatch.subscriptions[position:]
    return ()


def _warn(dispatch: Dispatch, subscription: Subscription, errors: list[Exception]) -> None:
    doubt = (
        "The connection was refused, so nothing was sent."
        if all(map(_was_refused, errors))
        else "The message may have arrived all the same, so the handler may run twice."
    )
    logger.warning(
        "The broker failed on event %s, handler %s: %s %s Asynchronous handlers run in this "
        "process until the broker is tried again.",
        identify(dispatch.payload),
        subscription.name,
        errors[-1],
        doubt,
    )


def _was_refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False
