"""Les tâches Celery : un handler sur un événement, ou un lot de tels couples."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from celery import Task, shared_task
from celery.exceptions import Reject, Retry
from celery.signals import task_failure
from django.utils import timezone

from ..domain.domain_event import DomainEventError, UnknownHandlerError
from . import settings
from .handling import Verdict, attempt
from .logs import describe, identify, log_again, log_given_up
from .registry import registry

__all__ = ["dispatch_async_batch", "dispatch_async_event"]

# A broker hands out again what stays unacknowledged for too long, and a task waiting for its
# countdown is unacknowledged. RabbitMQ’s limit is 30 minutes, Redis’ default an hour.
_LONGEST_COUNTDOWN = 15 * 60.0  # seconds

_SKEWS = "share_kernel_skews"  # message header: how many times no handler was found


# Celery’s class takes no parameters before 5.7.
if TYPE_CHECKING:
    BaseTask: TypeAlias = Task[Any, Any]
else:
    BaseTask = Task


class AtLeastOnceTask(BaseTask):
    """Une tâche que la mort de son worker ne perd pas."""

    acks_late = True
    # acks_late alone loses the message of a killed process, and reject_on_worker_lost hands it
    # out again without end. This one counts: attempt() gives up a handler that has killed
    # max_attempts processes, whatever its own limit is.
    retry_on_worker_lost = True
    max_retries = None
    default_retry_delay = 5  # seconds before a killed handler starts again; Celery’s is 180
    ignore_result = True


class Item(NamedTuple):
    """Un handler à exécuter sur un événement : les arguments de la tâche."""

    payload: Any
    handler: Any
    depth: Any
    using: Any


# The names are literal: messages already in a queue bear them, wherever this folder is copied.
@shared_task(name="share_kernel.dispatch_async_event", bind=True, base=AtLeastOnceTask)
def dispatch_async_event(
    self: BaseTask,
    payload: dict[str, Any],
    handler: str,
    depth: int = 0,
    using: str = "default",
) -> None:
    """Exécute un handler asynchrone sur un événement, dans un worker.

    Un échec est réessayé seul, avec un délai croissant et aléatoire, jusqu’à ``max_attempts``.
    Ce que ce worker ne connaît pas encore (handler, événement, valeur d’un champ) est réessayé
    toutes les dix minutes pendant un jour. Ce qui n’est pas un événement est abandonné aussitôt.
    Renoncer s’écrit au journal, au niveau ERROR.

    Args:
        payload: ce que :meth:`.DomainEvent.to_dict` a produit.
        handler: le nom stable du handler, cherché parmi les abonnés de ce processus.
        depth: le rang de l’événement dans la chaîne qui l’a causé.
        using: l’alias de la base de données de celui qui publie.
    """
    item, request = Item(payload, handler, depth, using), self.request
    verdict = attempt(*item, attempts=request.retries + 1, waits=_skews_before(request))
    if verdict.error is None:
        return
    if verdict.stop:
        raise verdict.stop  # Celery counts a lost process, and starts the handler again
    if verdict.delay is None or request.called_directly:
        raise _raisable(verdict.error)  # acknowledged; _on_failure writes it in the log
    delay = _send_again(request, item, verdict, task_id=request.id)
    when = timezone.now() + timedelta(seconds=delay)
    raise Retry(exc=_raisable(verdict.error), when=when)


@shared_task(name="share_kernel.dispatch_async_batch", bind=True, base=AtLeastOnceTask)
def dispatch_async_batch(
    self: BaseTask, items: list[dict[str, Any]], using: str = "default"
) -> None:
    """Exécute plusieurs handlers dans l’ordre, dans un worker.

    Un élément qui échoue est renvoyé seul, comme une tâche :func:`dispatch_async_event`, et
    n’arrête pas les suivants. Un handler qui tue son processus ne les emporte pas.

    Args:
        items: des dictionnaires ``payload``, ``handler`` et ``depth``.
        using: l’alias de la base de données de celui qui publie.
    """
    for item in _items(items, using):
        lost = self.request.retries  # a handler has killed the process: each goes on alone
        verdict = _after_a_lost_batch(item) if lost else attempt(*item)
        if verdict.stop and verdict.error:
            raise verdict.stop
        if verdict.error and verdict.delay is None:
            log_given_up(item.payload, item.handler, verdict.error)
        elif verdict.error:
            _send_again(self.request, item, verdict)


def _after_a_lost_batch(item: Item) -> Verdict:
    """Compte un essai, sauf s’il était le seul permis : il n’a peut-être pas eu lieu."""
    try:
        limit = registry.by_name(item.payload["event_type"], item.handler).max_attempts
    except (UnknownHandlerError, LookupError, TypeError):
        limit = None
    attempts = min(1, (limit or settings.get("MAX_ATTEMPTS")) - 1)
    return Verdict(RuntimeError("its batch was lost"), 0, attempts, label="alone")


def _send_again(request: Any, item: Item, verdict: Verdict, **options: Any) -> float:
    """Remet le handler en file. Contrairement à ``Task.retry``, ne le perd pas sans broker."""
    delay = min(verdict.delay or 0.0, _LONGEST_COUNTDOWN)
    log_again(item.payload, item.handler, verdict.label, delay, verdict.error)
    options |= {
        "countdown": delay,
        "retries": verdict.attempts,
        "headers": {_SKEWS: verdict.waits},
        "argsrepr": f"({identify(item.payload)}, {item.handler!r})",
        "kwargsrepr": "{}",
        **_same_queue(request),
    }
    try:
        dispatch_async_event.apply_async(args=tuple(item), **options)
    except Exception as failure:
        raise Reject(failure, requeue=True) from verdict.error  # the broker still has the message
    return delay


def _raisable(error: BaseException) -> Exception:
    """Celery laisse passer ce qui n’est pas une ``Exception``, et son processus en meurt."""
    return error if isinstance(error, Exception) else DomainEventError(describe(error))


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
    first, second = (*(args or ()), None, None)[:2]
    named = {"payload": first, "items": first, "handler": second} | (kwargs or {})
    if name == dispatch_async_event.name:
        log_given_up(named["payload"], named["handler"], exception)
    elif name == dispatch_async_batch.name:
        for item in _items(named["items"], None):
            log_given_up(item.payload, item.handler, exception)
