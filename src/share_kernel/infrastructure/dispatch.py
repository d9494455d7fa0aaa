"""Un événement pour un handler, du commit jusqu’à un worker ou jusqu’ici. Ne connaît pas Celery."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from django.apps import apps
from django.db import connections

from ..domain.domain_event import DomainEvent, SubscriptionError
from .handling import Verdict, attempt
from .logs import describe, identify, log_given_up, logger
from .subscriptions import Subscription

BATCH_SIZE = 100  # handlers in one message


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Un événement publié et un handler asynchrone qui l’attend."""

    event: DomainEvent
    payload: dict[str, Any]
    subscription: Subscription
    depth: int
    using: str
    planned_at: float = field(default_factory=time.monotonic)


# What one call publishes, so under one savepoint.
Batch: TypeAlias = Sequence[Dispatch]

# Takes charge of a batch in the publisher’s transaction.
Enrol: TypeAlias = Callable[[Batch], None]


@dataclass(frozen=True, slots=True)
class Message:
    """Un message à envoyer, et ce qu’il contient."""

    task: str
    args: tuple[Any, ...]
    content: tuple[Any, ...]
    about: str
    queue: str | None
    alone: Callable[[Any], Message]
    """Fait un message d’un seul élément du contenu."""


class Unsent(NamedTuple):
    """Un élément qui n’est pas parti."""

    item: Any
    refusal: BaseException | None
    """Ce qui tient à ce message ; ``None`` si c’est le broker qui manque."""


class Transport(Protocol):
    """Ce qui porte des messages à d’autres processus."""

    def is_configured(self) -> bool:
        """Dit s’il y a quelqu’un à qui envoyer."""

    def is_ready(self, planned_at: float = math.inf) -> bool:
        """Dit si un travail prévu à *planned_at* peut être envoyé ; n’interroge personne."""

    def post(self, messages: Iterable[Message]) -> list[Unsent]:
        """Envoie des messages ; renvoie ce qui n’est pas parti, et ne lève rien."""


class _Slots:
    """Ce que d’autres applications branchent, dans n’importe quel ordre."""

    enrol: Enrol | None = None
    transport: Transport | None = None


slots = _Slots()


def enrol_with(enrol: Enrol | None) -> None:
    """Choisit ce qui prend en charge un lot avant le commit : rien, ou un registre.

    Args:
        enrol: appelé dans la transaction de celui qui publie, avec ce qu’il publie d’un coup.
    """
    slots.enrol = enrol


def send_with(transport: Transport | None) -> None:
    """Choisit ce qui porte les messages après le commit : rien, Celery, ou un autre moteur."""
    slots.transport = transport


def transport_if(question: Callable[[Transport], bool], about: str) -> Transport | None:
    """Renvoie le transport s’il répond oui. Ce qu’il lève vaut un non, et s’écrit au journal."""
    try:
        if slots.transport and question(slots.transport):
            return slots.transport
    except Exception as error:
        _log_failure(about, error)
    return None


def enrol(batch: Batch) -> None:
    """Confie un lot au registre s’il y en a un, sinon à ce qui suit le commit."""
    if slots.enrol:
        slots.enrol(batch)
    else:
        _without_order(batch, send_or_run)


def enrol_in_process(batch: Batch) -> None:
    """Prévoit l’exécution dans ce processus, après le commit."""
    _without_order(batch, run_here)


def _without_order(batch: Batch, then: Callable[[Batch], None]) -> None:
    for item in batch:
        if item.subscription.ordering_key_of(type(item.event)):
            require_order(item.subscription)
    after_commit(batch, then)


def require_order(subscription: Subscription) -> None:
    """Refuse un abonnement ordonné s’il n’y a pas de registre, et qu’il n’en viendra pas.

    Raises:
        SubscriptionError: rien ne garderait l’ordre entre deux messages.
    """
    # While Django starts, a register that is installed may not be plugged in yet.
    coming = not apps.ready and (
        not apps.apps_ready
        or any(getattr(app, "keeps_deliveries", False) for app in apps.get_app_configs())
    )
    if not (slots.enrol or coming):
        raise SubscriptionError(
            f"Handler {subscription.name} of {subscription.event_type!r} has an ordering key, and "
            "only the durable register keeps an order: between two messages nothing does. Add "
            "the outbox application to INSTALLED_APPS, or take ordering_key away."
        )


class AfterCommit:
    """Ce qu’un lot attend du commit. ``deliver_pending()`` le reconnaît, et livre lui-même."""

    def __init__(
        self, batch: Batch, then: Callable[[Batch], None], deliver: Callable[[Dispatch], Verdict]
    ) -> None:
        self.batch, self.then, self.deliver = batch, then, deliver

    def run(self) -> None:
        """Envoie ou exécute le lot."""
        self.then(self.batch)


def run_dispatch(item: Dispatch) -> Verdict:
    """Essaie un handler ici, une fois."""
    return attempt(item.payload, item.subscription, item.depth, item.using)


def after_commit(
    batch: Batch,
    then: Callable[[Batch], None],
    deliver: Callable[[Dispatch], Verdict] = run_dispatch,
) -> None:
    """Appelle *then* quand la transaction qui publie est validée, jamais si elle est annulée.

    Args:
        batch: ce qui est publié d’un seul appel, donc sous un même point de sauvegarde.
        then: envoie ou exécute le lot.
        deliver: essaie un handler ici, pour ``deliver_pending()``.
    """
    connection = connections[batch[0].using]
    # Not connection.on_commit: while a handler runs, that one is for the handler’s own callbacks.
    type(connection).on_commit(connection, AfterCommit(batch, then, deliver).run, robust=True)


def send_or_run(batch: Batch) -> None:
    """Envoie à des workers ; ce qui n’a pas pu l’être s’exécute ici."""
    about = identify(batch[0].payload)
    transport = transport_if(lambda transport: transport.is_ready(batch[0].planned_at), about)
    if transport:
        unsent = post(transport, messages_for(batch), about)
        batch = batch if unsent is None else [one.item for one in unsent]
    run_here(batch)


def post(transport: Transport, messages: Iterable[Message], about: str) -> list[Unsent] | None:
    """Envoie ; renvoie ce qui n’a pu l’être, ou ``None`` si le transport a levé une erreur."""
    try:
        return transport.post(messages)
    except Exception as error:  # it breaks its promise: some may have left
        _log_failure(about, error)
    return None


def _log_failure(about: str, error: Exception) -> None:
    logger.error("The transport failed on %s: %s", about, describe(error), exc_info=error)


def run_here(batch: Batch) -> None:
    """Exécute les handlers ici, dans l’ordre ; l’échec de l’un n’arrête pas les autres."""
    stop = None
    for item in batch:
        verdict = run_dispatch(item)
        stop = stop or verdict.stop
        if verdict.error:
            log_given_up(item.payload, item.subscription.name, verdict.error)
    if stop:
        raise stop


def messages_for(batch: Batch) -> Iterator[Message]:
    """Répartit un lot en messages : un handler seul, ou une centaine pour la même file."""
    if len({id(item.payload) for item in batch}) == 1:  # one event: its handlers run in parallel
        yield from map(_single, batch)
        return
    for queue in dict.fromkeys(item.subscription.queue for item in batch):
        routed = [item for item in batch if item.subscription.queue == queue]
        for start in range(0, len(routed), BATCH_SIZE):
            yield _several(tuple(routed[start : start + BATCH_SIZE]), queue)


def _single(item: Dispatch) -> Message:
    name, queue = item.subscription.name, item.subscription.queue
    args = (item.payload, name, item.depth, item.using)
    about = f"event {identify(item.payload)}, handler {name}"
    return Message("share_kernel.dispatch_async_event", args, (item,), about, queue, _single)


def _several(batch: tuple[Dispatch, ...], queue: str | None) -> Message:
    args = ([_as_argument(item) for item in batch], batch[0].using)
    about = f"{len(batch)} handlers, the first on event {identify(batch[0].payload)}"
    return Message("share_kernel.dispatch_async_batch", args, batch, about, queue, _single)


def _as_argument(item: Dispatch) -> dict[str, Any]:
    return {"payload": item.payload, "handler": item.subscription.name, "depth": item.depth}
