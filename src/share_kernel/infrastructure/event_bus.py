"""Le bus d’événements : publier, s’abonner.

Les handlers synchrones s’exécutent dans la transaction de celui qui publie.
Les handlers asynchrones s’exécutent après le commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar, overload

from django.db import DEFAULT_DB_ALIAS

from ..domain.causation import Cause, chain_of, current_cause
from ..domain.domain_event import (
    DomainEvent,
    EventChainTooDeepError,
    SubscriptionError,
    UnknownEventTypeError,
    UnknownHandlerError,
    get_event_class,
)
from ..domain.payload import travelling
from . import dispatch, settings
from .dispatch import Dispatch, Enrol
from .subscriptions import Handler, Subscription, check_callable, handler_name

__all__ = [
    "EventBus",
    "event_bus",
    "publish_event",
    "publish_events",
    "subscribe_async",
    "subscribe_sync",
    "unsubscribe",
]

H = TypeVar("H", bound=Callable[..., object])
EventType: TypeAlias = str | type[DomainEvent]

# What publishing a class of events does: its sync handlers, then its async subscriptions.
_Plan: TypeAlias = tuple[tuple[Handler, ...], tuple[Subscription, ...]] | None

# Bound once: publish runs for every event, and these look-ups were a quarter of its cost.
_get_cause, _set_cause, _reset_cause = current_cause.get, current_cause.set, current_cause.reset


class EventBus:
    """Relie ceux qui publient un événement à ceux qui y réagissent.

    Le bus global est ``event_bus``. Un autre bus sert rarement : les workers Celery ne
    connaissent que le bus global, et un autre exécute ses handlers asynchrones dans le processus.

    Args:
        enrol: ce qui prend en charge les handlers asynchrones d’un événement publié.
    """

    def __init__(self, enrol: Enrol = dispatch.enrol_in_process) -> None:
        self._enrol = enrol
        self._lock = threading.Lock()
        # Copy on write: a publisher reads these without the lock, so they are replaced, never
        # changed. _plans caches what _subscriptions means for a class and is emptied after it.
        self._subscriptions: dict[str, tuple[Subscription, ...]] = {}
        self._recorders: tuple[Handler, ...] = ()
        self._plans: dict[type[DomainEvent], _Plan] = {}

    def publish(
        self,
        event: DomainEvent,
        using: str = DEFAULT_DB_ALIAS,
        _batch: list[Dispatch] | None = None,
    ) -> None:
        """Publie un événement auprès de ses abonnés.

        Les handlers synchrones s’exécutent ici, dans l’ordre des abonnements : une exception
        remonte et annule la transaction de l’appelant. Les handlers asynchrones sont
        planifiés pour après le commit : leurs échecs ne remontent jamais ici.

        Args:
            event: un événement d’une classe enregistrée.
            using: l’alias de la base de données dont le commit est attendu.

        Raises:
            UnknownEventTypeError: la classe de l’événement n’est pas enregistrée.
            PayloadError: un handler asynchrone est abonné et une valeur ne voyage pas.
            EventChainTooDeepError: la chaîne d’événements dépasse ``MAX_DEPTH``.
        """
        try:
            plan = self._plans[event.__class__]
        except KeyError:
            plan = self._make_plan(event)
        if plan is None:
            return
        handlers, subscriptions = plan
        cause = _get_cause()
        depth = 0 if cause is None else _depth_after(cause, event)
        # Before the first sync handler, which could change a list that the event holds.
        payload = travelling(event) if subscriptions else None
        token = _set_cause((event, depth, cause))
        try:
            for handler in handlers:
                handler(event)
        except Exception as error:
            error.add_note(self._note(event, handler))
            raise
        finally:
            _reset_cause(token)
        if payload is not None:
            planned = Dispatch(payload, subscriptions, depth, using)
            if _batch is None:
                self._enrol((planned,))
            else:
                _batch.append(planned)

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
        for event in events:
            self.publish(event, using, batch)
        if batch:
            self._enrol(batch)

    @overload
    def subscribe_sync(
        self, event_type: EventType, handler: H, *, name: str | None = None
    ) -> H: ...
    @overload
    def subscribe_sync(
        self, event_type: EventType, handler: None = None, *, name: str | None = None
    ) -> Callable[[H], H]: ...
    def subscribe_sync(
        self, event_type: EventType, handler: H | None = None, *, name: str | None = None
    ) -> H | Callable[[H], H]:
        """Abonne un handler qui s’exécute à la publication, dans la transaction.

        S’emploie aussi comme décorateur : ``@subscribe_sync("invoice.approved")``.
        Abonner deux fois le même handler ne change rien.

        Args:
            event_type: le nom de l’événement, ou sa classe.
            handler: une fonction d’un argument, l’événement.
            name: le nom du handler dans les erreurs, à la place de ``module.qualname``.

        Returns:
            Le handler, inchangé.

        Raises:
            SubscriptionError: le handler est une coroutine, ou ne prend pas un argument.
        """
        if handler is None:
            event_type = _type_name(event_type)  # so that a bare decorator fails at once
            return lambda function: self.subscribe_sync(event_type, function, name=name)
        return self._subscribe(event_type, handler, name=name, is_async=False)

    @overload
    def subscribe_async(
        self,
        event_type: EventType,
        handler: H,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        queue: str | None = None,
    ) -> H: ...
    @overload
    def subscribe_async(
        self,
        event_type: EventType,
        handler: None = None,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        queue: str | None = None,
    ) -> Callable[[H], H]: ...
    def subscribe_async(
        self,
        event_type: EventType,
        handler: H | None = None,
        *,
        name: str | None = None,
        max_attempts: int | None = None,
        queue: str | None = None,
    ) -> H | Callable[[H], H]:
        """Abonne un handler qui s’exécute après le commit, dans sa propre transaction.

        S’emploie aussi comme décorateur : ``@subscribe_async("invoice.approved")``.
        Un échec n’atteint jamais celui qui publie et n’arrête pas les autres handlers.

        Args:
            event_type: le nom de l’événement, ou sa classe.
            handler: une fonction d’un argument, l’événement ; une coroutine convient.
            name: le nom stable du handler, à la place de ``module.qualname``.
            max_attempts: combien d’essais avant de renoncer, à la place de ``MAX_ATTEMPTS``.
            queue: la file d’attente Celery, à la place de celle par défaut.

        Returns:
            Le handler, inchangé.

        Raises:
            SubscriptionError: le handler n’a pas de nom stable, ou son nom est déjà pris.
        """
        if handler is None:
            event_type = _type_name(event_type)
            return lambda function: self.subscribe_async(
                event_type, function, name=name, max_attempts=max_attempts, queue=queue
            )
        return self._subscribe(
            event_type, handler, name=name, is_async=True, max_attempts=max_attempts, queue=queue
        )

    def unsubscribe(self, event_type: EventType, handler: Handler) -> bool:
        """Désabonne un handler, synchrone ou asynchrone.

        Args:
            event_type: le nom de l’événement, ou sa classe.
            handler: le handler donné à l’abonnement.

        Returns:
            ``True`` si le handler était abonné.
        """
        event_type = _type_name(event_type)
        with self._lock:
            current = self._subscriptions.get(event_type, ())
            kept = tuple(item for item in current if item.handler != handler)
            self._replace(event_type, kept)
            return len(kept) < len(current)

    def enrol_with(self, enrol: Enrol) -> None:
        """Remplace ce qui prend en charge les handlers asynchrones, par exemple par un registre.

        Args:
            enrol: appelé dans la transaction de celui qui publie, avec ce qu’il publie d’un coup.
        """
        self._enrol = enrol

    def subscriptions(self) -> list[Subscription]:
        """Renvoie tous les abonnements, par nom d’événement puis par ordre d’abonnement."""
        return [item for _, items in sorted(self._subscriptions.items()) for item in items]

    def async_subscription(self, event_type: str, name: str) -> Subscription:
        """Renvoie l’abonnement asynchrone de ce nom.

        Raises:
            UnknownHandlerError: aucun dans ce processus.
        """
        for item in self._subscriptions.get(event_type, ()):
            if item.is_async and item.name == name:
                return item
        raise UnknownHandlerError(
            f"No async handler of {event_type!r} is named {name!r} in this process. "
            "`manage.py list_event_handlers` shows those that are."
        )

    def _subscribe(
        self,
        event_type: EventType,
        handler: H,
        *,
        name: str | None,
        is_async: bool,
        max_attempts: int | None = None,
        queue: str | None = None,
    ) -> H:
        event_type = _type_name(event_type)
        check_callable(handler, event_type, is_async=is_async)
        if max_attempts is not None and max_attempts < 1:
            raise SubscriptionError(
                f"max_attempts is {max_attempts} for {handler!r}, not 1 or more."
            )
        new = Subscription(
            event_type=event_type,
            handler=handler,
            name=handler_name(handler, event_type, given=name, is_async=is_async),
            is_async=is_async,
            max_attempts=max_attempts,
            queue=queue,
        )
        with self._lock:
            self._replace(event_type, _with(new, self._subscriptions.get(event_type, ())))
        return handler

    def _replace(self, event_type: str, items: Iterable[Subscription]) -> None:
        self._subscriptions = {**self._subscriptions, event_type: tuple(items)}
        self._plans = {}

    def _make_plan(self, event: DomainEvent) -> _Plan:
        plans = self._plans  # read first: a plan made from older subscriptions is thrown away
        _check_published(event)
        items = self._subscriptions.get(event.event_type, ())
        handlers = self._recorders + tuple(item.handler for item in items if not item.is_async)
        subscriptions = tuple(item for item in items if item.is_async)
        plan = (handlers, subscriptions) if handlers or subscriptions else None
        plans[type(event)] = plan
        return plan

    def _note(self, event: DomainEvent, handler: Handler) -> str:
        items = self._subscriptions.get(event.event_type, ())
        name = next((item.name for item in items if item.handler == handler), repr(handler))
        return f"In sync handler {name} of event {event.event_type} {event.event_id}."


def _with(new: Subscription, current: tuple[Subscription, ...]) -> tuple[Subscription, ...]:
    """Ajoute *new*, ou le met à la place de celui auquel il succède."""
    for position, old in enumerate(current):
        if new.succeeds(old):
            return (*current[:position], new, *current[position + 1 :])
        if new.is_async and old.is_async and new.name == old.name:
            raise SubscriptionError(
                f"Two functions are subscribed to {new.event_type!r} under the name {new.name!r}: "
                f"{old.handler!r} and {new.handler!r}. A worker could not tell them apart: "
                "give one of them another name=, or unsubscribe the first."
            )
    return (*current, new)


def _type_name(event_type: object) -> str:
    if isinstance(event_type, str):
        return event_type
    if isinstance(event_type, type) and issubclass(event_type, DomainEvent):
        name = getattr(event_type, "event_type", None)
        if isinstance(name, str):
            return name
    raise SubscriptionError(
        f"{event_type!r} is neither an event name nor a DomainEvent class with an event_type."
    )


def _check_published(event: object) -> None:
    if not isinstance(event, DomainEvent):
        raise TypeError(f"publish_event takes a DomainEvent, not {type(event).__name__}: {event!r}")
    cls = type(event)
    if get_event_class(_type_name(cls)) is not cls:
        raise UnknownEventTypeError(
            f"The class of this {cls.__qualname__} is not the one registered as "
            f"{event.event_type!r}: it was redefined, or lacks @register_event. "
            "Build the event from the registered class."
        )


def _depth_after(cause: Cause, event: DomainEvent) -> int:
    depth = cause[1] + 1
    if depth >= settings.get("MAX_DEPTH"):
        raise _too_deep(event, cause, depth)
    return depth


def _too_deep(event: DomainEvent, cause: Cause, depth: int) -> EventChainTooDeepError:
    chain = [*chain_of(cause), event]
    names = " → ".join(item.event_type for item in chain)
    unseen = f"{depth + 1 - len(chain)} earlier events → " if depth + 1 > len(chain) else ""
    return EventChainTooDeepError(
        f"Publishing {event.event_type} {event.event_id} would make a chain of {depth + 1} events, "
        f"more than MAX_DEPTH allows: {unseen}{names}. Does an event cause itself?"
    )


event_bus = EventBus(enrol=dispatch.enrol_for_celery)

publish_event = event_bus.publish
publish_events = event_bus.publish_many
subscribe_sync = event_bus.subscribe_sync
subscribe_async = event_bus.subscribe_async
unsubscribe = event_bus.unsubscribe
