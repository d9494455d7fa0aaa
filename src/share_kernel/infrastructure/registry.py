"""Qui réagit à quoi : les abonnements de ce processus."""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

from django.core.signals import setting_changed

from ..domain.domain_event import DomainEvent, SubscriptionError, UnknownHandlerError
from ..domain.event_types import event_types
from . import settings
from .subscriptions import Handler, Subscription, family_name

# What publishing a class of events does: its sync handlers, its async subscriptions, and whether
# the event must be able to travel. A bare tuple: publish unpacks it three times faster.
Plan: TypeAlias = tuple[tuple[Handler, ...], tuple[Subscription, ...], bool]


class Registry:
    """Les abonnements, dans leur ordre, et ce qu’ils signifient pour chaque classe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Copy on write: read without the lock, so replaced and never changed.
        self._subscriptions: tuple[Subscription, ...] = ()
        self.plans: dict[type[DomainEvent], Plan | None] = {}
        """Ce qui est déjà calculé, vidé par chaque changement. Se lit sans verrou."""
        setting_changed.connect(self._forget)  # Django sends it in tests only

    def subscribe(self, new: Subscription) -> None:
        """Ajoute un abonnement, ou le met à la place de celui auquel il succède.

        Raises:
            SubscriptionError: une autre fonction porte ce nom pour le même événement.
        """
        with self._lock:
            self.restore(_with(new, self._subscriptions))

    def unsubscribe(self, event_type: str, handler: Handler) -> bool:
        """Retire un handler ; dit s’il était abonné."""
        with self._lock:
            before = self._subscriptions
            gone = [
                item for item in before if (item.event_type, item.handler) == (event_type, handler)
            ]
            self.restore(tuple(item for item in before if item not in gone))
            return bool(gone)

    def all(self) -> list[Subscription]:
        """Renvoie tous les abonnements, par événement puis par ordre d’abonnement."""
        return sorted(self._subscriptions, key=lambda item: item.event_type)

    def for_event(self, cls: type[DomainEvent]) -> tuple[Subscription, ...]:
        """Renvoie les abonnements d’une classe et de ses familles, chaque handler une fois.

        D’un handler abonné à plusieurs ancêtres, l’abonnement au plus proche l’emporte.
        """
        near = [(item.distance(cls), item) for item in self._subscriptions]
        found = [(distance, item) for distance, item in near if distance is not None]

        def is_nearest(distance: int, item: Subscription) -> bool:
            rivals = [other for nearer, other in found if nearer < distance]
            return not any(
                item.has_async_name_of(it) or item.handler == it.handler for it in rivals
            )

        return tuple(item for distance, item in found if is_nearest(distance, item))

    def plan(self, cls: type[DomainEvent]) -> Plan | None:
        """Renvoie ce que publier cette classe entraîne, ou ``None`` s’il n’y a rien à faire."""
        before = self._subscriptions
        items = self.for_event(cls)
        handlers = tuple(item.handler for item in items if not item.is_async)
        subscriptions = tuple(item for item in items if item.is_async)
        travels = bool(subscriptions) or settings.checks_payloads()
        plan = (handlers, subscriptions, travels) if handlers or travels else None
        with self._lock:
            if self._subscriptions is before:  # else another thread has made this plan stale
                self.plans[cls] = plan
        return plan

    def by_name(self, event_type: str, name: str) -> Subscription:
        """Renvoie l’abonnement asynchrone de ce nom.

        Raises:
            UnknownHandlerError: aucun dans ce processus.
        """
        cls = event_types.get(event_type)
        plan = (self.plans.get(cls) or self.plan(cls)) if cls else None
        for item in plan[1] if plan else ():
            if item.name == name:
                return item
        raise UnknownHandlerError(
            f"No async handler of {event_type!r} is named {name!r} in this process. "
            "`manage.py list_event_handlers` shows those that are."
        )

    def snapshot(self) -> tuple[Subscription, ...]:
        """Renvoie l’état du registre, à donner à :meth:`restore`."""
        return self._subscriptions

    def restore(self, subscriptions: tuple[Subscription, ...]) -> None:
        """Rend au registre un état qu’il avait."""
        with self._lock:
            self._subscriptions = subscriptions
            self.plans.clear()

    def _forget(self, **_: Any) -> None:
        self.plans.clear()


def topic_of(event_type: object) -> tuple[str, type[DomainEvent] | None]:
    """Renvoie le nom de l’événement, ou celui d’une famille et sa classe."""
    if isinstance(event_type, str):
        return event_type, None
    if isinstance(event_type, type) and issubclass(event_type, DomainEvent):
        name = getattr(event_type, "event_type", None)
        if "event_type" in vars(event_type) or event_types.get(str(name)) is event_type:
            return str(name), None
        return family_name(event_type), event_type
    raise SubscriptionError(f"{event_type!r} is neither an event name nor a DomainEvent class.")


def _with(new: Subscription, current: tuple[Subscription, ...]) -> tuple[Subscription, ...]:
    for position, old in enumerate(current):
        same_event = new.event_type == old.event_type
        if new.is_handler_of(old):
            if same_event and new.is_async == old.is_async:
                return (*current[:position], new, *current[position + 1 :])
        elif new.has_async_name_of(old) and (same_event or new.family or old.family):
            raise SubscriptionError(
                f"Two functions are subscribed to {new.event_type!r} under the name {new.name!r}: "
                f"{old.handler!r} and {new.handler!r}. A worker could not tell them apart: "
                "give one of them another name=, or unsubscribe the first."
            )
    return (*current, new)


registry = Registry()
