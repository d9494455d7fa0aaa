"""L’abonnement d’un handler à un événement : son nom stable, et ce qu’il doit montrer."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import AsyncContextDecorator, ContextDecorator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import FunctionType
from typing import Any, Literal, TypeAlias

from asgiref.sync import async_to_sync, iscoroutinefunction

from ..domain.domain_event import DomainEvent, SubscriptionError, UnfinishedHandlerError

Handler: TypeAlias = Callable[[Any], object]

NAME_LENGTH = 255  # the width of a column of the delivery register
MOST_ATTEMPTS = 32_000  # another of its columns is a small integer
LONGEST = 366 * 86400  # seconds; a date that no database can write helps nobody

# What a handler returns when its body has not run; the last two, when the parentheses of a
# decorator maker were forgotten.
_NOT_RUN: tuple[type, ...] = (Generator, AsyncGenerator, map, filter, ContextDecorator)
_NOT_RUN += (AsyncContextDecorator, FunctionType, partial)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Qui réagit à quoi, et comment."""

    event_type: str
    """Le nom de l’événement ; pour une famille, celui de la classe, puis ``*``."""
    handler: Handler
    """La fonction abonnée."""
    name: str
    """Nom stable, ou description d’un handler synchrone qui n’en a pas."""
    is_async: bool
    """Il s’exécute après le commit."""
    max_attempts: int | None = None
    """Combien d’essais avant de renoncer ; ``None`` pour ``MAX_ATTEMPTS``."""
    queue: str | None = None
    """La file d’attente Celery ; ``None`` pour celle par défaut."""
    family: type[DomainEvent] | None = None
    """La classe dont les événements dérivent, si l’abonnement en vise plusieurs."""
    atomic: bool = True
    """Une transaction l’entoure."""
    claim: float | None = None
    """Secondes de réservation ; ``None`` la renouvelle tant que le handler s’exécute."""
    ordering_key: str | None = None
    """L’attribut de l’événement sous lequel ses livraisons se suivent."""
    on_dead: Literal["release", "hold"] = "release"
    """Une livraison abandonnée libère sa clé (``release``) ou la retient (``hold``)."""

    def call(self, event: DomainEvent) -> None:
        """Exécute le handler jusqu’à son terme, coroutine comprise.

        Raises:
            UnfinishedHandlerError: il a rendu de quoi faire son travail, sans le faire.
        """
        result = self.handler(event)
        if inspect.isawaitable(result):
            result = async_to_sync(_await)(result)
        check_result(result, partial(label_of, self.name, event))

    def distance(self, cls: type[DomainEvent]) -> int | None:
        """Renvoie à combien d’ancêtres de *cls* l’abonnement se trouve, ou ``None``."""
        names = [cls.event_type, *map(family_name, cls.__mro__)]
        return names.index(self.event_type) if self.event_type in names else None

    def ordering_key_of(self, cls: type[DomainEvent]) -> str | None:
        """Renvoie l’attribut qui ordonne les livraisons de ces événements, s’il y en a un."""
        return self.ordering_key or cls.ordering_key

    def has_async_name_of(self, other: Subscription) -> bool:
        """Dit si un message ne distinguerait pas les deux handlers."""
        return self.is_async and other.is_async and self.name == other.name

    def is_handler_of(self, other: Subscription) -> bool:
        """Dit si c’est le handler de *other*, ou une nouvelle définition de la même fonction."""
        if self.handler == other.handler:
            return True
        natural = natural_name(self.handler)
        redefined = (other.name, natural_name(other.handler)) == (self.name, natural)
        return natural is not None and redefined


async def _await(result: object) -> object:
    before = None
    # A coroutine may return a task of the same loop. A client or a pool returns itself, for ever.
    while inspect.isawaitable(result) and result is not before:
        before, result = result, await result
    return None if result is before else result


def family_name(cls: type) -> str:
    """Renvoie le nom d’une famille ; une classe relue (rechargement) garde le sien."""
    return f"{cls.__module__}.{cls.__qualname__}*"


def check_result(result: object, label: Callable[[], str]) -> None:
    """Ne croit pas un handler qui rend de quoi faire son travail, ou une promesse.

    Raises:
        UnfinishedHandlerError: il reste quelque chose à faire ou à attendre.
        BaseException: ce qu’a levé le travail qu’il a confié à un autre fil.
    """
    kind = type(result).__name__
    if isinstance(result, Future) and result.done():
        return check_result(result.result(), label)
    if isinstance(result, Future):
        kind, cure = f"{kind} that is not done", "Wait there for its result()"
    elif inspect.isawaitable(result):
        cure = "Await it there, or subscribe the handler with subscribe_async"
    elif isinstance(result, _NOT_RUN):
        cure = "Make the handler a plain function, or consume what it makes"
    else:
        return None
    if hasattr(result, "close"):
        result.close()  # Python would warn about a coroutine that was never awaited
    raise UnfinishedHandlerError(f"{label()} returned a {kind}: its body has not run. {cure}.")


def label_of(name: str, event: DomainEvent) -> str:
    """Nomme un handler et son événement, au début d’une erreur."""
    return f"Handler {name} of {event.event_type} {event.event_id}"


def natural_name(handler: Handler) -> str | None:
    """Renvoie ``module.qualname``, ou ``None`` si un autre processus ne le retrouverait pas."""
    qualname = getattr(handler, "__qualname__", "<instance>")
    owner = getattr(handler, "__self__", None)
    if "<" in qualname or not (owner is None or inspect.isclass(owner) or inspect.ismodule(owner)):
        return None
    return f"{handler.__module__ or '__main__'}.{qualname}"


def is_handler_name(name: object) -> bool:
    """Dit si *name* peut nommer un handler asynchrone, dans un message comme dans une ligne."""
    return isinstance(name, str) and 0 < len(name) <= NAME_LENGTH and name.isprintable()


def is_count(value: object) -> bool:
    """Dit si *value* peut compter des essais, dans un réglage comme dans une ligne."""
    return type(value) is int and 0 < value <= MOST_ATTEMPTS


# What each option may be, and how an error says it.
_A_NAME = f"a text of 1 to {NAME_LENGTH} printable characters"
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_attempts": (is_count, f"a whole number from 1 to {MOST_ATTEMPTS}"),
    "queue": (is_handler_name, _A_NAME),
    "atomic": (lambda value: type(value) is bool, "True or False"),
    "ordering_key": (is_handler_name, _A_NAME),
    "on_dead": (lambda value: value in ("release", "hold"), "'release' or 'hold'"),
    "claim": (
        lambda value: type(value) in (int, float) and 0 < value <= LONGEST,
        f"a positive number of seconds, at most {LONGEST}",
    ),
}


def make_subscription(
    handler: Handler,
    event_type: str,
    family: type[DomainEvent] | None,
    *,
    is_async: bool,
    name: str | None = None,
    **options: Any,
) -> Subscription:
    """Renvoie l’abonnement d’un handler, une fois vérifié qu’il peut être appelé et retrouvé.

    Raises:
        SubscriptionError: le handler, son nom ou une option est refusé.
    """
    stable = natural_name(handler) if name is None else name
    label = stable or repr(handler)
    new = Subscription(event_type, handler, label, is_async, family=family, **options)
    for fault in chain(_handler_faults(new), _name_faults(new, stable), _option_faults(new)):
        raise SubscriptionError(f"{handler!r} cannot handle {event_type!r}: {fault}")
    return new


def _handler_faults(new: Subscription) -> Iterator[str]:
    """Nomme ce qui échouerait à coup sûr le jour de l’appel."""
    handler: Any = new.handler
    if not callable(handler):
        yield "it is not callable."
    if _is(handler, inspect.isgeneratorfunction) or _is(handler, inspect.isasyncgenfunction):
        yield "it is a generator function, whose body would never run. Take the yield out of it."
    if not new.is_async and _is(handler, iscoroutinefunction):
        yield (
            "a coroutine function cannot run inside the transaction. Subscribe it with "
            "subscribe_async, or make it a plain function."
        )
    try:
        inspect.signature(handler).bind(None)
    except TypeError as error:
        yield f"it must take one argument, the event ({error})."
    except ValueError:
        pass  # some builtins have no signature to look at


def _name_faults(new: Subscription, name: object) -> Iterator[str]:
    if name is None and new.is_async:
        yield (
            "a lambda, a local function or an instance has no name that another process could "
            "look up. Define a function at module level, or pass name='…'."
        )
    elif not (
        is_handler_name(name) or (not new.is_async and isinstance(name, str | None) and name != "")
    ):
        yield f"its name is {name!r:.300}, not {_A_NAME}. Pass another name='…'."


def _option_faults(new: Subscription) -> Iterator[str]:
    for option, (is_valid, what) in _OPTIONS.items():
        value = getattr(new, option)
        is_default = value is None and option not in ("atomic", "on_dead")
        if not (is_default or is_valid(value)):
            yield f"{option} is {value!r:.100}, not {what}."
    if new.claim and new.atomic:
        yield (
            f"claim is {new.claim}, and only a handler subscribed with atomic=False is reserved "
            "by the clock."
        )


def _is(handler: Handler, kind: Callable[[Any], bool]) -> bool:
    return kind(handler) or kind(getattr(handler, "__call__", None))
