"""Aides de test : isoler le bus, relever ce qui est publié, livrer sans attendre le commit.

Ce module n’a pas besoin de pytest. Avec pytest, ``pytest_plugin`` en fait des fixtures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from django.db import DEFAULT_DB_ALIAS, connections

from .domain import event_types
from .domain.domain_event import DomainEvent, get_event_class
from .infrastructure import broker
from .infrastructure.dispatch import AfterCommit, Dispatch, slots
from .infrastructure.event_bus import EventBus, event_bus
from .infrastructure.handling import Verdict
from .infrastructure.registry import registry
from .infrastructure.subscriptions import Subscription, family_name
from .tracing import Step, Trace, trace_bus

__all__ = ["Step", "Trace", "deliver_pending", "isolated_bus", "record_events", "trace_bus"]

Only: TypeAlias = type[DomainEvent] | Callable[..., object]


@contextmanager
def isolated_bus(*, celery: bool = False) -> Iterator[EventBus]:
    """Rend au bus global, à la sortie, les abonnements et les événements qu’il avait.

    Dans le bloc, les abonnements existants restent en place. Le disjoncteur est rétabli aussi.

    Args:
        celery: envoie au broker configuré, dont un test se passe sinon.

    Yields:
        Le bus global.
    """
    subscriptions, classes = registry.snapshot(), event_types.snapshot()
    enrol, transport = slots.enrol, slots.transport
    tripped_at, asked = broker.breaker.tripped_at, broker.asked_by_a_test
    broker.asked_by_a_test = celery or asked
    try:
        yield event_bus
    finally:
        registry.restore(subscriptions)
        event_types.restore(classes)
        slots.enrol, slots.transport = enrol, transport
        broker.breaker.tripped_at, broker.asked_by_a_test = tripped_at, asked


@contextmanager
def record_events() -> Iterator[list[DomainEvent]]:
    """Relève les événements publiés dans le bloc ; les handlers s’exécutent comme d’habitude.

    Un événement est relevé à sa publication, que la transaction soit ensuite validée ou non.

    Yields:
        La liste des événements, dans l’ordre de leur publication.
    """
    events: list[DomainEvent] = []
    family = family_name(DomainEvent)
    recorder = Subscription(family, events.append, "record_events", False, family=DomainEvent)
    registry.restore((recorder, *registry.snapshot()))  # before every handler
    try:
        yield events
    finally:
        registry.restore(tuple(item for item in registry.snapshot() if item is not recorder))


def deliver_pending(using: str = DEFAULT_DB_ALIAS, *, only: Only | None = None) -> list[str]:
    """Exécute maintenant les handlers asynchrones qui attendent le commit d’un ``TestCase``.

    Chaque événement passe par JSON, comme vers un worker. Les événements que ces handlers
    publient sont livrés aussi. Tous les handlers s’exécutent, puis un échec remonte.
    Ce que ``setUpTestData`` a publié n’est livré que si cette fonction y est appelée.

    Args:
        using: l’alias de la base de données du test.
        only: une classe d’événements, ou un handler ; le reste attend toujours.

    Returns:
        Les noms des handlers qui se sont exécutés, dans l’ordre.

    Raises:
        Exception: ce qu’un handler a levé ; un ``ExceptionGroup`` s’ils sont plusieurs.
        TypeError: *only* n’est ni un événement enregistré, ni un handler asynchrone abonné.
    """
    names: list[str] = []
    errors: list[BaseException] = []
    while pending := _take_pending(using, only):
        for item, deliver in pending:
            names.append(item.subscription.name)
            error = deliver(_through_json(item)).error
            if error:
                error.add_note(
                    f"In async handler {item.subscription.name} of event "
                    f"{item.payload['event_type']} {item.payload['event_id']}."
                )
                errors.append(error)
    if not (names or only is None or _could_be_wanted(only)):
        raise TypeError(
            "deliver_pending(only=…) takes a registered event class or a handler given to "
            f"subscribe_async, not {only!r:.100}."
        )
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(f"{len(errors)} async handlers failed", errors)
    return names


def _take_pending(
    using: str, only: Only | None
) -> list[tuple[Dispatch, Callable[[Dispatch], Verdict]]]:
    """Retire nos rappels de la transaction du test, comme le fait ``captureOnCommitCallbacks``."""
    connection: Any = connections[using]
    taken = []
    for entry in list(connection.run_on_commit):
        after = getattr(entry[1], "__self__", None)
        if not isinstance(after, AfterCommit) or _belongs_to_the_class(connection, entry[0]):
            continue
        wanted = [item for item in after.batch if only is None or _is_wanted(item, only)]
        taken += [(item, after.deliver) for item in wanted]
        after.batch = [item for item in after.batch if item not in wanted]
        if not after.batch:
            connection.run_on_commit.remove(entry)
    return taken


def _belongs_to_the_class(connection: Any, savepoints: set[str]) -> bool:
    """Ce que ``setUpTestData`` a publié survit au test : le suivant doit le trouver pareil."""
    in_a_test = [
        block for block in connection.atomic_blocks if getattr(block, "_from_testcase", False)
    ]
    return len(in_a_test) > 1 and connection.savepoint_ids[0] not in savepoints


def _is_wanted(item: Dispatch, only: Only) -> bool:
    if isinstance(only, type) and issubclass(only, DomainEvent):
        return issubclass(get_event_class(item.payload["event_type"]), only)
    return item.subscription.handler == only


def _could_be_wanted(only: Only) -> bool:
    if isinstance(only, type) and issubclass(only, DomainEvent):
        return any(issubclass(cls, only) for cls in event_types.event_types.values())
    return any(item.is_async and item.handler == only for item in registry.all())


def _through_json(item: Dispatch) -> Dispatch:
    return replace(item, payload=json.loads(json.dumps(item.payload)))
