"""Les tâches Celery : un handler sur un événement, ou un lot de tels couples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple

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
from .broker import OnRetry
from .dispatch import Batch, Dispatch
from .event_bus import event_bus
from .handling import handle
from .logs import identify, ids, log_given_up, logger
from .subscriptions import Subscription

__all__ = ["dispatch_async_batch", "dispatch_async_event"]

BATCH_SIZE = 100  # handlers in one message

SKEW = (UnknownEventTypeError, NewerEventVersionError, UnknownHandlerError)

# The default publishing policy blocks 0.6 s an event on a refused broker, retry=False 6 s.
# One retry at once is what a warm connection that the broker has closed needs.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}

# A broker hands out again what stays unacknowledged for too long, and a task waiting for its
# countdown is unacknowledged. RabbitMQ’s limit is 30 minutes, Redis’ default an hour.
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


class Item(NamedTuple):
    """Un handler à exécuter sur un événement : les arguments de la tâche."""

    payload: Any
    handler: Any
    depth: Any
    using: Any


class Again(NamedTuple):
    """Un échec à réessayer : quand, et avec quels comptes."""

    error: Exception
    delay: float
    label: str
    retries: int
    skews: int


# The names are literal: messages already in a queue bear them, wherever this folder is copied.
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
    item, request = Item(payload, handler, depth, using), self.request
    again = _attempt(item, retries=request.retries, skews=_skews_before(request))
    if again is None:
        return
    if request.called_directly:
        raise again.error
    _send_again(request, item, again, task_id=request.id)
    raise Retry(exc=again.error, when=timezone.now() + timedelta(seconds=again.delay))


@shared_task(name="share_kernel.dispatch_async_batch", bind=True, base=AtLeastOnceTask)
def dispatch_async_batch(
    self: Task[Any, Any], items: list[dict[str, Any]], using: str = "default"
) -> None:
    """Exécute plusieurs handlers dans l’ordre, dans un worker.

    Un élément qui échoue est renvoyé seul, comme une tâche :func:`dispatch_async_event`, et
    n’arrête pas les suivants. Un handler qui tue son processus ne les emporte pas.

    Args:
        items: des dictionnaires ``payload``, ``handler`` et ``depth``.
        using: l’alias de la base de données de celui qui publie.
    """
    for item in _items(items, using):
        if self.request.retries:  # a handler has killed the process: do not let it take the others
            again: Again | None = Again(RuntimeError("its batch was lost"), 0, "alone", 1, 0)
        else:
            try:
                again = _attempt(item, retries=0, skews=0)
            except Exception as error:
                log_given_up(item.payload, item.handler, error)
                continue
        if again is not None:
            _send_again(self.request, item, again)


@dataclass(frozen=True, slots=True)
class Message:
    """Un message à envoyer, et ce qu’il contient."""

    content: tuple[Dispatch, ...]
    about: str
    task: Task[Any, Any]
    args: tuple[Any, ...]
    queue: str | None

    def send(self, on_retry: OnRetry) -> None:
        """Envoie le message ; un essai raté suivi d’un autre est signalé à *on_retry*."""
        publish(self.task, self.args, on_retry, about=self.about, queue=self.queue)


def publish(
    task: Task[Any, Any],
    args: tuple[Any, ...],
    on_retry: OnRetry,
    *,
    about: str,
    queue: str | None = None,
) -> None:
    """Envoie une tâche, avec un seul nouvel essai immédiat si la connexion échoue."""
    options: dict[str, Any] = {
        "retry": True,
        "retry_policy": {**_RETRY_POLICY, "errback": lambda error, _interval: on_retry(error)},
        "argsrepr": f"({about})",  # Celery would spend a third of the sending time on its own
        "kwargsrepr": "{}",
    }
    if queue:
        options["queue"] = queue
    task.apply_async(args=args, **options)


def messages_for(batch: Batch) -> Iterator[Message]:
    """Répartit un lot en messages : un par handler, ou un par centaine de handlers."""
    if len(batch) == 1:
        (dispatch,) = batch
        for subscription in dispatch.subscriptions:
            yield _single(replace(dispatch, subscriptions=(subscription,)))
        return
    singles = [
        replace(dispatch, subscriptions=(subscription,))
        for dispatch in batch
        for subscription in dispatch.subscriptions
    ]
    for queue in dict.fromkeys(_queue_of(single) for single in singles):
        routed = [single for single in singles if _queue_of(single) == queue]
        for start in range(0, len(routed), BATCH_SIZE):
            yield _several(tuple(routed[start : start + BATCH_SIZE]), queue)


def _single(dispatch: Dispatch) -> Message:
    name = dispatch.subscriptions[0].name
    arguments = (dispatch.payload, name, dispatch.depth, dispatch.using)
    about = f"event {identify(dispatch.payload)}, handler {name}"
    return Message((dispatch,), about, dispatch_async_event, arguments, _queue_of(dispatch))


def _several(singles: tuple[Dispatch, ...], queue: str | None) -> Message:
    items = [
        {"payload": item.payload, "handler": item.subscriptions[0].name, "depth": item.depth}
        for item in singles
    ]
    about = f"{len(items)} handlers, the first on event {identify(singles[0].payload)}"
    return Message(singles, about, dispatch_async_batch, (items, singles[0].using), queue)


def _queue_of(single: Dispatch) -> str | None:
    return single.subscriptions[0].queue


def _attempt(item: Item, *, retries: int, skews: int) -> Again | None:
    """Exécute le handler. Renvoie ``None`` s’il réussit, lève son erreur s’il faut renoncer."""
    try:
        event, subscription = look_up(item.payload, item.handler, item.depth)
    except SKEW as error:
        return _after_skew(error, retries, skews + 1)
    except PayloadError as error:
        return _after_failure(error, retries + 1, None, skews)
    try:
        handle(subscription, event, depth=item.depth, using=item.using)
    except Exception as error:
        return _after_failure(error, retries + 1, subscription, skews)
    return None


def look_up(payload: Any, handler: Any, depth: Any) -> tuple[DomainEvent, Subscription]:
    """Rien n’est importé d’après un message : tout est cherché parmi ce que ce code connaît."""
    event = DomainEvent.from_dict(payload)
    if not isinstance(handler, str) or type(depth) is not int:
        raise PayloadError(
            f"{identify(payload)}: handler {handler!r:.100} and depth {depth!r:.100} "
            "are not a name and a whole number"
        )
    return event, event_bus.async_subscription(event.event_type, handler)


def _after_failure(
    error: Exception, attempt: int, subscription: Subscription | None, skews: int
) -> Again:
    limit = (subscription and subscription.max_attempts) or settings.get("MAX_ATTEMPTS")
    delay = retry.delay_after(error, attempt, limit)
    if delay is None:
        raise error  # the message is acknowledged and the event goes to the log
    label = f"attempt {attempt} of {limit}"
    return Again(error, min(delay, _LONGEST_COUNTDOWN), label, attempt, skews)


def _after_skew(error: Exception, retries: int, skews: int) -> Again:
    delay = retry.delay_after_skew(skews)
    if delay is None:
        raise error
    label = f"look-up {skews} of {retry.SKEW_ATTEMPTS}, is a deployment going on?"
    return Again(error, min(delay, _LONGEST_COUNTDOWN), label, retries, skews)


def _send_again(request: Any, item: Item, again: Again, **options: Any) -> None:
    """Remet le handler en file. Contrairement à ``Task.retry``, ne le perd pas sans broker."""
    logger.warning(
        "Handler %s failed on event %s (%s), retry in %.1f s: %s",
        item.handler,
        identify(item.payload),
        again.label,
        again.delay,
        again.error,
        exc_info=again.error,
        extra=ids(item.payload),
    )
    options |= {
        "countdown": again.delay,
        "retries": again.retries,
        "headers": {_SKEWS: again.skews},
        "argsrepr": f"({identify(item.payload)}, {item.handler!r})",
        "kwargsrepr": "{}",
        **_same_queue(request),
    }
    try:
        dispatch_async_event.apply_async(args=tuple(item), **options)
    except Exception as failure:
        raise Reject(failure, requeue=True) from again.error  # the broker still has the message


def _same_queue(request: Any) -> dict[str, Any]:
    info = request.delivery_info or {}
    if info.get("exchange"):
        return {"exchange": info["exchange"], "routing_key": info.get("routing_key")}
    return {"queue": info["routing_key"]} if info.get("routing_key") else {}


def _skews_before(request: Any) -> int:
    value = (request.headers or {}).get(_SKEWS, 0)
    return value if type(value) is int else 0


def _items(items: Any, using: Any) -> Iterator[Item]:
    """Lit les éléments d’un lot, quoi que contienne le message."""
    for item in items if isinstance(items, list) else [items]:
        content = item if isinstance(item, dict) else {"payload": item}
        yield Item(content.get("payload"), content.get("handler"), content.get("depth", 0), using)


@task_failure.connect
def _on_failure(
    sender: Any = None, exception: Any = None, args: Any = None, kwargs: Any = None, **_: Any
) -> None:
    """Toute fin sans succès passe ici : renoncement, worker tué trop souvent, limite de temps."""
    name = getattr(sender, "name", None)
    named = dict(zip(("first", "second"), args or (), strict=False)) | (kwargs or {})
    if name == dispatch_async_event.name:
        payload = named.get("payload", named.get("first"))
        log_given_up(payload, named.get("handler", named.get("second")), exception)
    elif name == dispatch_async_batch.name:
        for item in _items(named.get("items", named.get("first")), None):
            log_given_up(item.payload, item.handler, exception)
