"""Celery comme transport : des messages, un broker, un disjoncteur."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from celery import current_app

from . import (
    broker,
    tasks,  # noqa: F401  (Celery’s autodiscovery looks for <app>.tasks, and would not see it)
)
from .broker import OnRetry, Outcome
from .dispatch import Message, Unsent

# The default publishing policy blocks 0.6 s an event on a refused broker, retry=False 6 s.
# One retry at once is what a warm connection that the broker has closed needs.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class CeleryTransport:
    """Envoie des messages à des workers Celery."""

    def is_configured(self) -> bool:
        """Dit si Celery a un broker."""
        return broker.is_available()

    def is_ready(self, planned_at: float = math.inf) -> bool:
        """Dit si Celery a un broker, et si le disjoncteur laisse passer ce travail."""
        return broker.is_available() and not broker.breaker.is_open(planned_at)

    def post(self, messages: Iterable[Message]) -> list[Unsent]:
        """Envoie les messages ; après une panne du broker, les suivants ne l’essaient plus."""
        unsent: list[Unsent] = []
        broken = False
        for message in messages:
            if broken:
                unsent += (Unsent(item, None) for item in message.content)
                continue
            failed = list(_post(message))
            unsent += failed
            broken = any(item.refusal is None for item in failed)
        return unsent


def _post(message: Message) -> Iterator[Unsent]:
    outcome, error = broker.attempt(
        lambda on_retry: _send(message, on_retry), message.about, message.queue
    )
    if outcome is Outcome.BROKEN:
        yield from (Unsent(item, None) for item in message.content)
    elif outcome is Outcome.REFUSED and len(message.content) > 1:
        for item in message.content:  # one of them may be the cause
            yield from _post(message.alone(item))
    elif outcome is Outcome.REFUSED:
        yield Unsent(message.content[0], error)


def _send(message: Message, on_retry: OnRetry) -> None:
    options: dict[str, Any] = {
        "retry": True,
        "retry_policy": {**_RETRY_POLICY, "errback": lambda error, _interval: on_retry(error)},
        # Celery would spend a third of the sending time on its own.
        "argsrepr": f"({message.about})",
        "kwargsrepr": "{}",
    }
    if message.queue:
        options["queue"] = message.queue
    current_app.tasks[message.task].apply_async(args=message.args, **options)
