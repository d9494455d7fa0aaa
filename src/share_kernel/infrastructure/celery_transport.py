"""Celery comme transport : des messages, un broker, un disjoncteur."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from celery import current_app

from . import (
    broker,
    tasks,  # noqa: F401  (Celery’s autodiscovery looks for <app>.tasks, and would not see it)
)
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
        waiting = deque(messages)
        while waiting:
            message = waiting.popleft()
            failures = _failures(message)
            refusal = failures and broker.blame(failures, message.about, message.queue)
            if refusal and len(message.content) > 1:  # one of them may be the cause
                waiting.extendleft(map(message.alone, reversed(message.content)))
            elif refusal:
                unsent.append(Unsent(message.content[0], refusal))
            elif failures:
                left = (message, *waiting)
                return unsent + [Unsent(item, None) for each in left for item in each.content]
        return unsent


def _failures(message: Message) -> list[Exception]:
    """Envoie un message ; renvoie rien, ou ce qui a échoué à chaque tentative."""
    failures: list[Exception] = []
    options: dict[str, Any] = {
        "retry": True,
        "retry_policy": {**_RETRY_POLICY, "errback": lambda error, _: failures.append(error)},
        # Celery would spend a third of the sending time on its own.
        "argsrepr": f"({message.about})",
        "kwargsrepr": "{}",
    }
    if message.queue:
        options["queue"] = message.queue
    try:
        current_app.tasks[message.task].apply_async(args=message.args, **options)
    except Exception as error:  # whatever the transport raises, the event must survive
        return [*failures, error]
    return []
