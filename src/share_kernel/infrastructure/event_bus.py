"""Le bus d’événements : publier, s’abonner.

Les handlers synchrones s’exécutent dans la transaction de celui qui publie.
Les handlers asynchrones s’exécutent après le commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack, overload

from django.db import DEFAULT_DB_ALIAS, connections

from ..domain import errors
from ..domain.causation import Cause, chain_of, current_cause
from ..domain.domain_event import DomainEvent, UnfinishedHandlerError
from ..domain.event_types import event_types, get_event_class
from ..domain.payload import travelling
from . import dispatch, settings
from .dispatch import Dispatch, Enrol
from .registry import Plan, Registry, registry, topic_of
from .subscriptions import Handler, Subscription, check_result, label_of, make_subscription
from .transactions import NEST, State, left_open, roll_back_to

__all__ = [
    "EventBus",
    "event_bus",
    "publish_event",
    "publish_events",
    "subscribe_async",
    "subscribe_sync",
    "unsubscribe",
]

E = TypeVar("E", bound=DomainEvent)
E_co = TypeVar("E_co", bound=DomainEvent, covariant=True)
R = TypeVar("R")
X = TypeVar("X")
H = TypeVar("H", bound=Callable[..., object])
EventType: TypeAlias = str | type[DomainEvent]

# Bound once: publish runs for every event, and these look-ups were a quarter of its cost.
_get_cause, _set_cause, _reset_cause = current_cause.get, current_cause.set, current_cause.reset


class _Decorator(Protocol[E_co]):
    """Un décorateur de handlers d’un événement, qui rend la fonction telle quelle."""

    # X is what else the function takes, and keeps: it may be decorated for another event too.
    def __call__(self, handler: Callable[[E_co | X], R], /) -> Callable[[E_co | X], R]: ...


# The connections of each thread: Django takes ten times longer to find one.
_here = threading.local()


def _connection(using: str) -> Any:
    setattr(_here, using, connections[using])
    return connections[using]


class Options(TypedDict, total=False):
    """Les options de :meth:`EventBus.subscribe_async`."""

    name: str | None
    max_attempts: int | None
    queue: str | None
    atomic: bool
    claim: float | None
    ordering_key: str | None
    on_dead: Literal["release", "hold"]


class EventBus:
    """Relie ceux qui publient un événement à ceux qui y réagissent.

    Le bus global est ``event_bus``. Un autre bus sert rarement : les workers Celery ne
    connaissent que le bus global, et un autre exécute ses handlers asynchrones dans le processus.

    Args:
        enrol: ce qui prend en charge les handlers asynchrones d’un événement publié.
        registry: les abonnements du bus ; vide par défaut.
    """

    def __init__(
        self, enrol: Enrol = dispatch.enrol_in_process, registry: Registry | None = None
    ) -> None:
        self._enrol = enrol
        self._registry = Registry() if registry is None else registry
        self._plans = self._registry.plans

    def publish(self, event: DomainEvent, using: str = DEFAULT_DB_ALIAS) -> None:
        """Publie un événement auprès de ses abonnés.

        Les handlers synchrones s’exécutent ici, dans l’ordre : une exception remonte et annule la
        transaction de l’appelant. Les asynchrones attendent le commit : rien d’eux ne remonte.

        Args:
            event: un événement d’une classe enregistrée.
            using: l’alias de la base de données dont le commit est attendu.

        Raises:
            DomainEventError: la classe, une valeur, la chaîne ou un handler synchrone est en faute.
        """
        try:
            plan = self._plans[event.__class__]
        except KeyError:
            plan = self._plan(event)
        if plan is None:
            return
        handlers, subscriptions, travels = plan
        cause = _get_cause()
        depth = 0 if cause is None else _depth_after(cause, event)
        payload = travelling(event) if travels else None  # before a handler changes its lists
        if handlers:
            db = getattr(_here, using, None) or _connection(using)
            marked, auto, blocks = db.needs_rollback, db.autocommit, len(db.atomic_blocks)
            token = _set_cause((event, depth, cause))
            try:
                for handler in handlers:
                    if (result := handler(event)) is not None:
                        self._check_result(result, handler, event)
            except BaseException as error:
                self._after_error(error, handler, event, (db, blocks, auto))
                raise
            finally:
                _reset_cause(token)
            if db.needs_rollback or db.autocommit is not auto or len(db.atomic_blocks) != blocks:
                self._check_transaction(event, (db, blocks, auto), was_marked=marked)
        if subscriptions and payload is not None:
            self._enrol(_dispatches(event, payload, subscriptions, depth, using))

    def publish_many(self, events: Iterable[DomainEvent], using: str = DEFAULT_DB_ALIAS) -> None:
        """Publie plusieurs événements d’un coup, dans l’ordre.

        Les handlers synchrones s’exécutent comme avec :meth:`publish`. Le travail asynchrone
        part en lots : l’ordre est gardé dans un lot, un handler qui échoue est réessayé seul,
        et un worker tué peut recommencer un lot.

        Args:
            events: des événements de classes enregistrées.
            using: l’alias de la base de données dont le commit est attendu.

        Raises:
            Exception: ce que :meth:`publish` lève ; rien d’asynchrone n’est alors planifié.
        """
        batch: list[Dispatch] = []
        collector = EventBus(batch.extend, self._registry)
        for event in events:
            collector.publish(event, using)
        if batch:
            self._enrol(batch)

    @overload
    def subscribe_sync(
        self, event_type: type[E], handler: Callable[[E], R], *, name: str | None = None
    ) -> Callable[[E], R]: ...
    @overload
    def subscribe_sync(
        self, event_type: type[E], handler: None = None, *, name: str | None = None
    ) -> _Decorator[E]: ...
    @overload
    def subscribe_sync(self, event_type: str, handler: H, *, name: str | None = None) -> H: ...
    @overload
    def subscribe_sync(
        self, event_type: str, handler: None = None, *, name: str | None = None
    ) -> Callable[[H], H]: ...
    def subscribe_sync(
        self, event_type: EventType, handler: Handler | None = None, *, name: str | None = None
    ) -> Any:
        """Abonne un handler qui s’exécute à la publication, dans la transaction.

        S’emploie aussi comme décorateur : ``@subscribe_sync("invoice.approved")``.
        Abonner deux fois le même handler ne change rien.

        Args:
            event_type: le nom de l’événement, sa classe, ou une classe dont il dérive.
            handler: une fonction d’un argument, l’événement.
            name: le nom du handler dans les erreurs, à la place de ``module.qualname``.

        Returns:
            Le handler, inchangé.

        Raises:
            SubscriptionError: c’est une coroutine ou un générateur, ou il ne prend pas un argument.
        """
        return self._subscribe(event_type, handler, name=name, is_async=False)

    @overload
    def subscribe_async(
        self, event_type: type[E], handler: Callable[[E], R], **options: Unpack[Options]
    ) -> Callable[[E], R]: ...
    @overload
    def subscribe_async(
        self, event_type: type[E], handler: None = None, **options: Unpack[Options]
    ) -> _Decorator[E]: ...
    @overload
    def subscribe_async(self, event_type: str, handler: H, **options: Unpack[Options]) -> H: ...
    @overload
    def subscribe_async(
        self, event_type: str, handler: None = None, **options: Unpack[Options]
    ) -> Callable[[H], H]: ...
    def subscribe_async(
        self,
        event_type: EventType,
        handler: Handler | None = None,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        queue: str | None = None,
        atomic: bool = True,
        claim: float | None = None,
        ordering_key: str | None = None,
        on_dead: Literal["release", "hold"] = "release",
    ) -> Any:
        """Abonne un handler qui s’exécute après le commit, dans sa propre transaction.

        S’emploie aussi comme décorateur : ``@subscribe_async("invoice.approved")``.
        Un échec n’atteint jamais celui qui publie et n’arrête pas les autres handlers.

        Args:
            event_type: le nom de l’événement, sa classe, ou une classe dont il dérive.
            handler: une fonction d’un argument, l’événement ; une coroutine convient.
            name: le nom stable du handler, à la place de ``module.qualname``.
            max_attempts: combien d’essais avant de renoncer, à la place de ``MAX_ATTEMPTS``.
            queue: la file d’attente Celery, à la place de celle par défaut.
            atomic: ``False`` pour un handler sans transaction autour de lui ; ses effets ont
                alors lieu au moins une fois.
            claim: avec le registre et sans transaction, secondes pendant lesquelles la livraison
                lui est réservée ; sinon la réservation est renouvelée tant qu’il s’exécute.
            ordering_key: avec le registre, l’attribut de l’événement sous lequel les livraisons
                commencent dans l’ordre de publication, à la place de celui de la classe.
            on_dead: si une livraison abandonnée libère sa clé (``release``) ou la retient.

        Returns:
            Le handler, inchangé.

        Raises:
            SubscriptionError: il n’a pas de nom stable, son nom est pris, ou c’est un générateur.
        """
        options = Options(name=name, max_attempts=max_attempts, queue=queue, atomic=atomic)
        options |= Options(claim=claim, ordering_key=ordering_key, on_dead=on_dead)
        return self._subscribe(event_type, handler, is_async=True, **options)

    def unsubscribe(self, event_type: EventType, handler: Handler) -> bool:
        """Désabonne un handler, synchrone ou asynchrone.

        Args:
            event_type: le nom ou la classe donnés à l’abonnement.
            handler: le handler donné à l’abonnement.

        Returns:
            ``True`` si le handler était abonné.
        """
        return self._registry.unsubscribe(topic_of(event_type)[0], handler)

    def subscriptions(self) -> list[Subscription]:
        """Renvoie tous les abonnements, par nom d’événement puis par ordre d’abonnement."""
        return self._registry.all()

    def _subscribe(self, event_type: object, handler: Any, **options: Any) -> Any:
        topic, family = topic_of(event_type)  # first, so that a bare decorator fails at once

        def subscribe(handler: Any) -> Any:
            new = make_subscription(handler, topic, family, **options)
            _check_order(new)
            self._registry.subscribe(new)
            return handler

        return subscribe if handler is None else subscribe(handler)

    def _plan(self, event: object) -> Plan | None:
        if not isinstance(event, DomainEvent):
            kind = type(event).__name__
            raise TypeError(f"publish_event takes a DomainEvent, not {kind}: {event!r}")
        cls = type(event)
        name = getattr(cls, "event_type", None)
        if not isinstance(name, str) or get_event_class(name) is not cls:
            raise errors.UnknownEventTypeError(
                f"The class of this {cls.__qualname__} is not the one registered as {name!r}: it "
                "was redefined, or lacks @register_event. Build the event from the registered one."
            )
        return self._registry.plan(cls)

    def _after_error(
        self, error: BaseException, handler: Handler, event: DomainEvent, before: State
    ) -> None:
        with suppress(Exception):  # nothing must take the place of the error
            roll_back_to(before)
        with suppress(Exception):
            name = self._name_of(handler, event)
            error.add_note(f"In sync handler {name} of event {event.event_type} {event.event_id}.")

    def _check_result(self, result: object, handler: Handler, event: DomainEvent) -> None:
        check_result(result, lambda: label_of(self._name_of(handler, event), event))

    def _check_transaction(self, event: DomainEvent, before: State, *, was_marked: bool) -> None:
        items = self._registry.for_event(type(event))
        names = " or ".join(item.name for item in items if not item.is_async)
        if roll_back_to(before):
            raise left_open(label_of(names, event), before[0].alias)
        if before[0].needs_rollback and not was_marked:
            raise UnfinishedHandlerError(
                f"The transaction of {event.event_type} {event.event_id} is marked for rollback, "
                f"in or before handlers {names}: a database error was caught there. {NEST}"
            )

    def _name_of(self, handler: Handler, event: DomainEvent) -> str:
        items = self._registry.for_event(type(event))
        return next((item.name for item in items if item.handler == handler), repr(handler))


def _check_order(new: Subscription) -> None:
    # Of a family, only what is published tells which events have a key.
    cls = DomainEvent if new.family else event_types.get(new.event_type, DomainEvent)
    if new.is_async and new.ordering_key_of(cls):
        dispatch.require_order(new)


def _dispatches(
    event: DomainEvent,
    payload: dict[str, Any],
    subscriptions: tuple[Subscription, ...],
    depth: int,
    using: str,
) -> list[Dispatch]:
    # A function apart: a comprehension in publish would cost each publication three cells.
    return [Dispatch(event, payload, item, depth, using) for item in subscriptions]


def _depth_after(cause: Cause, event: DomainEvent) -> int:
    depth = cause[1] + 1
    if depth < settings.get("MAX_DEPTH"):
        return depth
    chain = [*chain_of(cause), event]
    names = " → ".join(item.event_type for item in chain)
    unseen = f"{depth + 1 - len(chain)} earlier events → " if depth + 1 > len(chain) else ""
    raise errors.EventChainTooDeepError(
        f"Publishing {event.event_type} {event.event_id} would make a chain of {depth + 1} events, "
        f"more than MAX_DEPTH allows: {unseen}{names}. Does an event cause itself?"
    )


event_bus = EventBus(dispatch.enrol, registry)

publish_event = event_bus.publish
publish_events = event_bus.publish_many
subscribe_sync = event_bus.subscribe_sync
subscribe_async = event_bus.subscribe_async
unsubscribe = event_bus.unsubscribe
