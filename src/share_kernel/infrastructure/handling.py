"""Un essai d’un handler asynchrone, le même sur tous les chemins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string

from ..domain.causation import current_cause
from ..domain.domain_event import DomainEvent
from . import settings
from .subscriptions import Subscription


def handle(subscription: Subscription, event: DomainEvent, *, depth: int, using: str) -> None:
    """Exécute le handler dans sa propre transaction et dans le contexte du *tenant*.

    Une exception annule ce que le handler a écrit, puis remonte.
    """
    with (
        _caused_by(event, depth),
        _tenant_context(event.tenant_id),
        transaction.atomic(using=using),
    ):
        subscription.call(event)


@contextmanager
def _caused_by(event: DomainEvent, depth: int) -> Iterator[None]:
    token = current_cause.set((event, depth, None))
    try:
        yield
    finally:
        current_cause.reset(token)


def _tenant_context(tenant_id: str | None) -> AbstractContextManager[Any]:
    path = settings.get("TENANT_CONTEXT")
    if path is None or tenant_id is None:
        return nullcontext()
    context: AbstractContextManager[Any] = import_string(path)(tenant_id)
    return context
