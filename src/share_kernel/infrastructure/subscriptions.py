"""L’abonnement d’un handler à un événement, et le nom stable du handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction

from ..domain.domain_event import DomainEvent, SubscriptionError

Handler = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Subscription:
    """Qui réagit à quoi, et comment."""

    event_type: str
    handler: Handler
    name: str
    """Nom stable, ou description d’un handler synchrone qui n’en a pas."""
    is_async: bool
    max_attempts: int | None = None
    queue: str | None = None

    def call(self, event: DomainEvent) -> None:
        """Exécute le handler ; une coroutine l’est jusqu’à son terme."""
        handler = self.handler
        if is_coroutine_handler(handler):
            async_to_sync(handler)(event)  # type: ignore[arg-type]
        else:
            handler(event)

    def succeeds(self, other: Subscription) -> bool:
        """Dit si cet abonnement prend la place de *other* : même handler, ou sa redéfinition."""
        if self.is_async is not other.is_async:
            return False
        if self.handler == other.handler:
            return True
        natural = natural_name(self.handler)
        return (
            self.name == other.name
            and natural is not None
            and (natural == natural_name(other.handler))
        )


def natural_name(handler: Handler) -> str | None:
    """Renvoie ``module.qualname``, ou ``None`` si un autre processus ne le retrouverait pas."""
    qualname = getattr(handler, "__qualname__", "<instance>")
    owner = getattr(handler, "__self__", None)
    if "<" in qualname or not (owner is None or inspect.isclass(owner) or inspect.ismodule(owner)):
        return None
    return f"{handler.__module__ or '__main__'}.{qualname}"


def handler_name(handler: Handler, event_type: str, *, given: str | None, is_async: bool) -> str:
    """Renvoie le nom du handler : celui qui est donné, le sien, ou sa description.

    Raises:
        SubscriptionError: un handler asynchrone n’a pas de nom stable.
    """
    name = given or natural_name(handler)
    if name is None and is_async:
        raise SubscriptionError(
            f"{handler!r} cannot handle {event_type!r} after commit: a lambda, a local function or "
            "an instance has no name that another process could look up. Define a function at "
            "module level, or pass name='…'."
        )
    return name or repr(handler)


def check_callable(handler: Handler, event_type: str, *, is_async: bool) -> None:
    """Refuse ce qui échouerait à coup sûr le jour de l’appel.

    Raises:
        SubscriptionError: pas appelable avec un événement, ou coroutine dans la transaction.
    """
    if not callable(handler):
        raise SubscriptionError(f"{handler!r} cannot handle {event_type!r}: it is not callable.")
    if not is_async and is_coroutine_handler(handler):
        raise SubscriptionError(
            f"{handler!r} is a coroutine function: it cannot run inside the transaction of "
            f"{event_type!r}. Subscribe it with subscribe_async, or make it a plain function."
        )
    try:
        inspect.signature(handler).bind(None)
    except TypeError as error:
        raise SubscriptionError(
            f"{handler!r} cannot handle {event_type!r}: it must take one argument, the event "
            f"({error})."
        ) from None
    except ValueError:
        pass  # some builtins have no signature to look at


def is_coroutine_handler(handler: Handler) -> bool:
    """Dit si le handler est une fonction ou une instance à appeler avec ``await``."""
    return iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None))
