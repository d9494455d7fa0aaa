"""Les rappels ``on_commit`` d’un handler : aucun n’arrête les autres, ni ne le fait rejouer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..domain.domain_event import DomainEvent
from .logs import describe, ids, logger
from .transactions import balanced

# What surrounds a handler, and what it has registered.
Around: TypeAlias = Callable[[], AbstractContextManager[object]]


def is_stop(error: BaseException) -> bool:
    """Dit si l’erreur demande à ce processus, ou à ce *greenlet*, de finir."""
    names = [base.__name__ for base in type(error).__mro__]
    return isinstance(error, SystemExit) or "GreenletExit" in names


@dataclass(slots=True)
class Callbacks:
    """Ce qui est arrivé aux rappels d’un handler."""

    name: str
    event: DomainEvent
    around: Around
    stop: BaseException | None = None

    def register(
        self,
        connection: BaseDatabaseWrapper,
        func: Callable[[], object],
        robust: bool = False,  # noqa: FBT001, FBT002  (Django’s signature)
    ) -> None:
        """Prend la place de ``connection.on_commit`` tant que le handler s’exécute."""
        wrapped = partial(self._call, func) if callable(func) else func
        type(connection).on_commit(connection, wrapped, robust)

    def _call(self, func: Callable[[], object]) -> None:
        try:
            with self.around(), balanced("It"):
                func()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_stop(error):
                self.stop = error
            logger.error(
                "An on_commit callback of handler %s failed on event %s %s: %s. "
                "What the handler did is committed: it does not run again.",
                self.name,
                self.event.event_type,
                self.event.event_id,
                describe(error),
                exc_info=error,
                extra=ids(vars(self.event)),
            )


@contextmanager
def robust_callbacks(name: str, event: DomainEvent, around: Around) -> Iterator[Callbacks]:
    """Rend robustes les rappels que le bloc enregistre, sur toutes les bases."""
    callbacks = Callbacks(name, event, around)
    before = []
    for connection in connections.all():
        before.append((vars(connection), vars(connection).get("on_commit")))
        vars(connection)["on_commit"] = partial(callbacks.register, connection)
    try:
        yield callbacks
    finally:
        for attributes, former in before:
            if former is None:
                del attributes["on_commit"]
            else:
                attributes["on_commit"] = former
