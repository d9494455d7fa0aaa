"""Les rappels ``on_commit`` d’un handler : aucun n’arrête les autres, ni ne le fait rejouer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeAlias

from django.db import connections

from ..domain.domain_event import DomainEvent
from .logs import describe, ids, logger
from .transactions import balanced

# What surrounds a handler, and what it has registered.
Around: TypeAlias = Callable[[], AbstractContextManager[object]]


def is_stop(error: BaseException) -> bool:
    """Dit si l’erreur demande à ce processus, ou à ce *greenlet*, de finir."""
    names = [base.__name__ for base in type(error).__mro__]
    return isinstance(error, SystemExit) or "GreenletExit" in names


@contextmanager
def robust_callbacks(
    name: str, event: DomainEvent, around: Around
) -> Iterator[list[BaseException]]:
    """Rend robustes les rappels que le bloc enregistre ; cède les demandes d’arrêt de ceux-ci."""
    stops: list[BaseException] = []

    def call(func: Callable[[], object]) -> None:
        try:
            with around(), balanced("It"):
                func()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            stops.extend([error] if is_stop(error) else [])
            logger.error(
                "An on_commit callback of handler %s failed on event %s: %s. "
                "What the handler did is committed: it does not run again.",
                name,
                f"{event.event_type} {event.event_id}",
                describe(error),
                exc_info=error,
                extra=ids(vars(event)),
            )

    def on_commit(connection: Any, func: Any, *options: Any, **named: Any) -> None:
        wrapped = partial(call, func) if callable(func) else func
        type(connection).on_commit(connection, wrapped, *options, **named)

    before = [(vars(item), vars(item).get("on_commit"), item) for item in connections.all()]
    for attributes, _, connection in before:
        attributes["on_commit"] = partial(on_commit, connection)
    try:
        yield stops
    finally:
        for attributes, former, _ in before:
            attributes["on_commit"] = former
            if former is None:
                del attributes["on_commit"]
