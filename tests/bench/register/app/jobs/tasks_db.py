"""django-tasks-db : les tâches de Django dans une table ; il n’a pas de lot."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from ..models import leave_effect

# Django has them from 6.0 on.
_tasks = import_module("django.tasks" if find_spec("django.tasks") else "django_tasks")


def _react(number: int) -> None:
    leave_effect(number)


react = _react = _tasks.task(_react)  # a worker looks for it under the name of its function


def publish(numbers: Sequence[int]) -> None:
    for number in numbers:
        react.enqueue(number)
