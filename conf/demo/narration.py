"""Fait raconter les handlers, par la seule interface publique du bus."""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from typing import Any

from django.db import transaction

from src.share_kernel.domain.domain_event import DomainEvent, RetryAfter
from src.share_kernel.infrastructure.event_bus import (
    event_bus,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.infrastructure.subscriptions import Subscription

from . import scenes
from .journal import ENV_PROCESS, tell

_attempts: Counter[tuple[object, str]] = Counter()


def narrate() -> None:
    """Abonne à nouveau chaque handler, sous le même nom, entouré de son récit."""
    subscriptions = event_bus.subscriptions()
    for item in subscriptions:
        unsubscribe(item.event_type, item.handler)
    for event_type in {item.event_type for item in subscriptions}:
        subscribe_sync(event_type, _published)  # first, so that it comes before the others
    for item in subscriptions:
        if item.is_async:
            subscribe_async(item.event_type, _narrated_async(item), name=item.name)
        else:
            subscribe_sync(item.event_type, _narrated_sync(item), name=item.name)
    if os.environ.get(ENV_PROCESS) == "relay":
        _narrate_wake_ups()
    if scenes.are_played():
        _narrate_celery()


def _published(event: DomainEvent) -> None:
    tell("before commit", f"{event.event_type} is published")


def _narrated_sync(item: Subscription) -> Any:
    @functools.wraps(item.handler)
    def handler(event: DomainEvent) -> None:
        item.call(event)
        tell("before commit", f"{_short(item)} done, in the same transaction")

    return handler


def _narrated_async(item: Subscription) -> Any:
    @functools.wraps(item.handler)
    def handler(event: DomainEvent) -> None:
        if scenes.are_played():
            scenes.play_handler(lambda: item.call(event), _short(item))
            return
        _attempts[event.event_id, item.name] += 1
        attempt = _attempts[event.event_id, item.name]
        try:
            item.call(event)
        except RetryAfter as error:
            tell(
                "after commit",
                f"{_short(item)} FAILED, attempt {attempt}: {error}; "
                f"retried alone in {error.seconds} s",
            )
            raise
        label = f", attempt {attempt}" if attempt > 1 else ""
        transaction.on_commit(lambda: tell("after commit", f"{_short(item)} done{label}"))

    return handler


def _narrate_wake_ups() -> None:
    """Avec un broker, le relais n’exécute rien : il réveille le worker."""
    from celery.signals import after_task_publish, before_task_publish

    began = time.time()

    def note(**_: Any) -> None:
        nonlocal began
        began = time.time()

    def tell_wake_up(**_: Any) -> None:
        # Told once the broker has it, of the moment before: the worker may already speak.
        tell("after commit", "a delivery is due: the relay wakes the worker", began)

    before_task_publish.connect(note, weak=False)
    after_task_publish.connect(tell_wake_up, weak=False)


def _narrate_celery() -> None:
    from celery.signals import worker_ready

    worker_ready.connect(lambda **_: tell(scenes.STARTED, scenes.LISTENS), weak=False)


def _short(item: Subscription) -> str:
    """``src.module.accounting.handlers.record`` devient ``accounting.record``."""
    *_, module, _, function = item.name.split(".")
    return f"{module}.{function}"
