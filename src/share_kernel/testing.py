"""Aides de test : isoler le bus, relever ce qui est publié, livrer sans attendre le commit.

Ce module n’a pas besoin de pytest. Avec pytest, ``pytest_plugin`` en fait des fixtures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from .domain import event_types
from .domain.domain_event import DomainEvent
from .infrastructure import broker
from .infrastructure.dispatch import Dispatch
from .infrastructure.event_bus import EventBus, event_bus
from .infrastructure.subscriptions import Subscription

Attempt = Callable[[Dispatch, Subscription], None]

__all__ = ["deliver_pending", "isolated_bus", "record_events"]


@contextmanager
def isolated_bus() -> Iterator[EventBus]:
    """Rend au bus global, à la sortie, les abonnements et les événements qu’il avait.

    Dans le bloc, les abonnements existants restent en place. Le disjoncteur est rétabli aussi.

    Yields:
        Le bus global.
    """
    subscriptions, recorders = event_bus._subscriptions, event_bus._recorders
    enrol = event_bus._enrol
    known = event_types.snapshot()
    tripped_at = broker.breaker.tripped_at
    try:
        yield event_bus
    finally:
        event_bus._subscriptions, event_bus._recorders = subscriptions, recorders
        event_bus._plans = {}
        event_bus._enrol = enrol
        event_types.restore(known)
        broker.breaker.tripped_at = tripped_at


@contextmanager
def record_events() -> Iterator[list[DomainEvent]]:
    """Relève les événements publiés dans le bloc ; les handlers s’exécutent comme d’habitude.

    Un événement est relevé à sa publication, que la transaction soit ensuite validée ou non.

    Yields:
        La liste des événements, dans l’ordre de leur publication.
    """
    events: list[DomainEvent] = []
    recorder = events.append
    event_bus._recorders = (*event_bus._recorders, recorder)
    event_bus._plans = {}
    try:
        yield events
    finally:
        event_bus._recorders = tuple(item for item in event_bus._recorders if item is not recorder)
        event_bus._plans = {}


def deliver_pending(using: str = DEFAULT_DB_ALIAS) -> int:
    """Exécute maintenant les handlers asynchrones qui attendent le commit d’un ``TestCase``.

    Chaque événement passe par JSON, comme vers un worker. Les événements que ces handlers
    publient sont livrés aussi. Tous les handlers s’exécutent, puis un échec remonte.

    Args:
        using: l’alias de la base de données du test.

    Returns:
        Combien de handlers se sont exécutés.

    Raises:
        Exception: ce qu’un handler a levé ; un ``ExceptionGroup`` s’ils sont plusieurs.
    """
    count, errors = 0, []
    while pending := _take_pending(using):
        for item, attempt in pending:
            for subscription in item.subscriptions:
                count += 1
                try:
                    attempt(item, subscription)
                except Exception as error:
                    error.add_note(
                        f"In async handler {subscription.name} of event "
                        f"{item.payload['event_type']} {item.payload['event_id']}."
                    )
                    errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{len(errors)} async handlers failed", errors)
    return count


def _take_pending(using: str) -> list[tuple[Dispatch, Attempt]]:
    """Retire nos rappels de la transaction du test, comme le fait ``captureOnCommitCallbacks``."""
    connection, ours, others = connections[using], [], []
    for entry in connection.run_on_commit:
        callback: Any = entry[1]
        if hasattr(callback, "batch"):
            ours += [(_through_json(item), callback.attempt) for item in callback.batch]
        else:
            others.append(entry)
    connection.run_on_commit = others
    return ours


def _through_json(item: Dispatch) -> Dispatch:
    return replace(item, payload=json.loads(json.dumps(item.payload)))
