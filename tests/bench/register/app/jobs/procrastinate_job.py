"""procrastinate, et son insertion en lot."""

from collections.abc import Sequence

from procrastinate.contrib.django import app

from ..models import leave_effect

react = app.task(name="bench.react")(leave_effect)


def publish(numbers: Sequence[int]) -> None:
    react.batch_defer(*({"number": number} for number in numbers))
