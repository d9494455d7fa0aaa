"""Qui réagit à quoi : les abonnements de ce processus."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from django.core.signals import setting_changed

from ..domain.domain_event import DomainEvent, SubscriptionError, UnknownHandlerError
from ..domain.event_types import event_types
from . import settings
from .subscriptions import Handler, Subscription

Recorder: TypeAlias = Callable[[DomainEvent], object]


# What publishing a class of events does: its sync handlers, its async subscriptions, and whether
# the event must be able to travel. A bare tuple: publish unpacks it three times faster.
Plan: TypeAlias = tuple[tuple[Handler, ...], tuple[Subscription, ...], bool]


class Snapshot(NamedTuple):
    """L’état d’un registre, à lui rendre."""

    subscriptions: tuple[Subscription, ...]
    recorders: tuple[Recorder, ...]


class Registry:
    """Les abonnements, dans leur ordre, et ce qu’ils signifient pour chaque classe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Copy on write: read without the lock, so replaced and never changed.
        self._state = Snapshot((), ())
        self.plans: dict[type[DomainEvent], Plan | None] = {}
        """Ce qui est déjà calculé, vidé par chaque changement. Se lit sans verrou."""
        setting_changed.connect(self._forget)  # Django sends it in tests only

    def subscribe(self, new: Subscription) -> None:
        """Ajoute un abonnement, ou le met à la place de celui auquel il succède.

        Raises:
            SubscriptionError: une autre fonction porte ce nom pour le même événement.
        """
        with self._lock:
            known = self._state.subscriptions
            self.restore(self._state._replace(subscriptions=_with(new, known)))

    def unsubscribe(self, event_type: str, handler: Handler) -> bool:
        """Retire un handler ; dit s’il était abonné."""
        with self._lock:
            known = self._state.subscriptions
            kept = [
                item for item in known if (item.event_type, item.handler) != (event_type, handler)
            ]
            self.restore(self._state._replace(subscriptions=tuple(kept)))
            return len(kept) < len(known)

    def record(self, recorder: Recorder) -> None:
        """Montre à *recorder* chaque événement publié, avant les handlers."""
        with self._lock:
            self.restore(self._state._replace(recorders=(*self._state.recorders, recorder)))

    def stop_recording(self, recorder: Recorder) -> None:
        """Ne montre plus rien à *recorder*."""
        with self._lock:
            kept = tuple(item for item in self._state.recorders if item is not recorder)
            self.restore(self._state._replace(recorders=kept))

    def all(self) -> list[Subscription]:
        """Renvoie tous les abonnements, par événement puis par ordre d’abonnement."""
        return sorted(self._state.subscriptions, key=lambda item: item.event_type)

    def for_event(self, cls: type[DomainEvent]) -> tuple[Subscription, ...]:
        """Renvoie les abonnements d’une classe et de ses familles, chaque handler une fois.

        D’un handler abonné à plusieurs ancêtres, l’abonnement au plus proche l’emporte.
        """
        near = [(item.distance(cls), item) for item in self._state.subscriptions]
        found = [(distance, item) for distance, item in near if distance is not None]

        def is_nearest(distance: int, item: Subscription) -> bool:
            rivals = [other for nearer, other in found if nearer < distance]
            return not any(
                item.has_async_name_of(it) or item.handler == it.handler for it in rivals
            )

        return tuple(item for distance, item in found if is_nearest(distance, item))

    def plan(self, cls: type[DomainEvent]) -> Plan | None:
        """Renvoie ce que publier cette classe entraîne, ou ``None`` s’il n’y a rien à faire."""
        state = self._state
        items = self.for_event(cls)
        handlers = state.recorders + tuple(item.handler for item in items if not item.is_async)
        subscriptions = tuple(item for item in items if item.is_async)
        travels = bool(subscriptions) or settings.checks_payloads()
        plan = (handlers, subscriptions, travels) if handlers or travels else None
        with self._lock:
            if self._state is state:  # else another thread has subscribed: this plan is stale
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

    def snapshot(self) -> Snapshot:
        """Renvoie l’état du registre, à donner à :meth:`restore`."""
        return self._state

    def restore(self, snapshot: Snapshot) -> None:
        """Rend au registre un état qu’il avait."""
        with self._lock:
            self._state = snapshot
            self.plans.clear()

    def _forget(self, **_: Any) -> None:
        self.plans.clear()


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
