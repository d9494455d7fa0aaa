"""django-domain-events, qui a lui aussi une table et une transaction par livraison."""

from collections.abc import Sequence
from dataclasses import dataclass

from django_domain_events import event, fire, receiver

from ..models import leave_effect


@dataclass(frozen=True)
class Happened:
    number: int


def react(happened: Happened) -> None:
    leave_effect(happened.number)


event(Happened)
receiver(Happened)(react)


def publish(numbers: Sequence[int]) -> None:
    for number in numbers:
        fire(Happened(number=number))
