"""La tâche Celery : un handler, un événement."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from celery import Task, shared_task
from celery.exceptions import Reject, Retry
from celery.signals import task_failure
from django.utils import timezone

from ..domain.domain_event import (
    DomainEvent,
    NewerEventVersionError,
    PayloadError,
    UnknownEventTypeError,
    UnknownHandlerError,
)
from . import retry, settings
from .event_bus import event_bus
from .handling import handle
from .logs import identify, log_given_up, logger
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .dispatch import Dispatch

__all__ = ["dispatch_async_event"]

# The default publishing policy blocks 0.6 s an event on a refused broker, retry=False 6 s.
# One retry at once is what a warm connection that the broker has closed needs.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

# A broker hands out again what stays unacknowledged for too long, and a task waiting for its
# countdown is unacknowledged. RabbitMQ’s limit is 30 minutes, Redis' default an hour.
_LONGEST_COUNTDOWN = 15 * 60.0  # seconds

_SKEWS = "share_kernel_skews"  # message header: how many times no handler was found


class AtLeastOnceTask(Task[Any, Any]):
    """Une tâche que la mort de son worker ne perd pas."""

    acks_late = True
    # acks_late alone loses the message of a killed process, and reject_on_worker_lost hands it
    # out again without end. This one counts, up to max_retries.
    retry_on_worker_lost = True
    max_retries = settings.get("MAX_ATTEMPTS") - 1
    default_retry_delay = 5  # seconds before a killed handler starts again; Celery’s is 180
    ignore_result = True


# The name is literal: messages already in a queue bear it, wherever this folder is copied.
@shared_task(name="share_kernel.dispatch_async_event", bind=True, base=AtLeastOnceTask)
def dispatch_async_event(
    self: Task[Any, Any],
    payload: dict[str, Any],
    handler: str,
    depth: int = 0,
    using: str = "default",
) -> None:
    """Exécute un handler asynchrone sur un événement, dans un worker.

    Un échec est réessayé seul, avec un délai croissant et aléatoire, jusqu’à ``max_attempts``.
    Un handler ou un événement inconnu de ce worker (déploiement en cours) est réessayé
    toutes les dix minutes pendant un jour. Renoncer s’écrit au journal, au niveau ERROR.

    Args:
        payload: ce que :meth:`.DomainEvent.to_dict` a produit.
        handler: le nom stable du handler, cherché parmi les abonnés de ce processus.
        depth: le rang de l’événement dans la chaîne qui l’a causé.
        using: l’alias de la base de données de celui qui publie.
    """
    try:
        event, subscription = _look_up(payload, handler, depth)
    except (UnknownEventTypeError, NewerEventVersionError, UnknownHandlerError) as error:
        _retry_skew(self, error)
    except PayloadError as error:
        _retry(self, error, None)
    else:
        try:
            handle(subscription, event, depth=depth, using=using)
        except Exception as error:
            _retry(self, error, subscription)


def send(dispatch: Dispatch, subscription: Subscription, failures: list[Exception]) -> None:
    """Envoie la tâche au broker ; ajoute à *failures* l’échec d’un essai suivi d’un autre."""
    dispatch_async_event.apply_async(
        args=(dispatch.payload, subscription.name, dispatch.depth, dispatch.using),
        retry=True,
        retry_policy={
            **_RETRY_POLICY,
            "errback": lambda error, _interval: failures.append(error),
        },
        **_routing(subscription),
        **_short_repr(dispatch.payload, subscription.name),
    )


def _routing(subscription: Subscription) -> dict[str, Any]:
    return {"queue": subscription.queue} if subscription.queue else {}


def _look_up(payload: Any, handler: Any, depth: Any) -> tuple[DomainEvent, Subscription]:
    """Rien n’est importé d’après un message : tout est cherché parmi ce que ce code connaît."""
    event = DomainEvent.from_dict(payload)
    if not isinstance(handler, str) or type(depth) is not int:
        raise PayloadError(
            f"{identify(payload)}: handler {handler!r:.100} and depth {depth!r:.100} "
            "are not a name and a whole number"
        )
    return event, event_bus.async_subscription(event.event_type, handler)


def _retry(task: Task[Any, Any], error: Exception, subscription: Subscription | None) -> None:
    attempt = task.request.retries + 1
    limit = (subscription and subscription.max_attempts) or settings.get("MAX_ATTEMPTS")
    delay = retry.delay_after(error, attempt, limit)
    if delay is None:
        raise error  # the message is acknowledged and _on_failure writes the event to the log
    _send_again(task, error, delay, f"attempt {attempt} of {limit}", retries=attempt)


def _retry_skew(task: Task[Any, Any], error: Exception) -> None:
    skews = _header(task, _SKEWS) + 1
    delay = retry.delay_after_skew(skews)
    if delay is None:
        raise error
    _send_again(
        task,
        error,
        delay,
        f"look-up {skews} of {retry.SKEW_ATTEMPTS}, is a deployment going on?",
        headers={_SKEWS: skews},
    )


def _send_again(
    task: Task[Any, Any], error: Exception, delay: float, count: str, **options: Any
) -> NoReturn:
    """Renvoie la tâche dans la file. Contrairement à ``Task.retry``, ne la perd pas sans broker."""
    payload, handler = _named_arguments(task.request.args, task.request.kwargs)
    countdown = min(delay, _LONGEST_COUNTDOWN)
    logger.warning(
        "Handler %s failed on event %s (%s), retry in %.1f s: %s",
        handler,
        identify(payload),
        count,
        countdown,
        error,
        exc_info=error,
    )
    options = {"retries": task.request.retries, **options, **_short_repr(payload, handler)}
    try:
        task.signature_from_request(countdown=countdown, **options).apply_async()
    except Exception as failure:
        raise Reject(failure, requeue=True) from error  # the broker still has the message
    raise Retry(exc=error, when=timezone.now() + timedelta(seconds=countdown))


def _header(task: Task[Any, Any], name: str) -> int:
    value = (task.request.headers or {}).get(name, 0)
    return value if type(value) is int else 0


def _short_repr(payload: object, handler: object) -> dict[str, Any]:
    """Décrit les arguments à la place de Celery, qui y passe un tiers du temps d’envoi."""
    return {"argsrepr": f"({identify(payload)}, {handler!r})", "kwargsrepr": "{}"}


def _named_arguments(args: Any, kwargs: Any) -> tuple[Any, Any]:
    named = dict(zip(("payload", "handler"), args or (), strict=False)) | (kwargs or {})
    return named.get("payload"), named.get("handler")


@task_failure.connect
def _on_failure(
    sender: Any = None, exception: Any = None, args: Any = None, kwargs: Any = None, **_: Any
) -> None:
    """Toute fin sans succès passe ici : renoncement, worker tué trop souvent, limite de temps."""
    if sender is not None and sender.name == dispatch_async_event.name:
        payload, handler = _named_arguments(args, kwargs)
        log_given_up(payload, handler, exception)
