"""Une tâche Celery par travail, envoyée après le commit : rien ne survit à un arrêt brutal."""

from collections.abc import Sequence
from functools import partial

from celery import shared_task
from django.db import transaction

from ..models import leave_effect


@shared_task(ignore_result=True)
def react(number: int) -> None:
    leave_effect(number)


def publish(numbers: Sequence[int]) -> None:
    for number in numbers:
        transaction.on_commit(partial(react.delay, number))
