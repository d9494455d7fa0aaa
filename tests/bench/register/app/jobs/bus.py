"""Ce bus : un événement par travail, publiés en lot, et un handler asynchrone."""

from collections.abc import Sequence
from dataclasses import dataclass

from src.share_kernel.domain.domain_event import DomainEvent, register_event
from src.share_kernel.infrastructure.event_bus import publish_events, subscribe_async

from ..models import leave_effect


@register_event
@dataclass(frozen=True)
class Happened(DomainEvent):
    event_type = "bench.happened"

    number: int


@subscribe_async(Happened)
def react(event: Happened) -> None:
    leave_effect(event.number)


def publish(numbers: Sequence[int]) -> None:
    publish_events([Happened(number=number) for number in numbers])
