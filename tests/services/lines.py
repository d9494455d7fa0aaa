"""Des événements qui ont une clé, un handler qui note ses départs, et l’ordre qu’il a suivi."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.share_kernel.domain.domain_event import DomainEvent, register_event
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from tests.chaos.checking import out_of_order

from .registers import Register


@register_event
@dataclass(frozen=True)
class Moved(DomainEvent):
    """Le pas d’un article, qui suit ceux d’avant."""

    event_type = "services.moved"
    ordering_key = "item"

    item: str
    step: int


class Line:
    """Un handler ordonné, dont les départs survivent à l’annulation d’une transaction."""

    def __init__(self, register: Register, path: Path, **options: Any) -> None:
        self.register, self.path = register, path
        self.path.touch()
        self.on_start: dict[tuple[str, int], Callable[[], object]] = {}
        subscribe_async(Moved, self, name="line", **options)

    def __call__(self, event: Moved) -> None:
        with self.path.open("a") as file:
            file.write(f"{event.item} {event.step} {os.getpid()}\n")
        self.register.leave_effect(f"{event.item} {event.step}")
        self.on_start.get((event.item, event.step), str)()

    def publish(self, **steps: int) -> None:
        """Publie, un à un et en alternant les articles, tant de pas de chacun."""
        for step in range(max(steps.values())):
            for item in [item for item, count in steps.items() if step < count]:
                publish_event(Moved(item=item, step=step), using=self.register.using)

    def starts(self) -> list[tuple[str, int]]:
        lines = map(str.split, self.path.read_text().splitlines())
        return [(item, int(step)) for item, step, _ in lines]

    def of(self, wanted: str) -> list[int]:
        return [step for item, step in self.starts() if item == wanted]

    def workers(self) -> set[str]:
        """Renvoie les processus qui ont pris part."""
        return {line.split()[2] for line in self.path.read_text().splitlines()}

    def has_kept(self, **steps: int) -> bool:
        """Dit si chaque pas a eu son effet une fois, et aucun départ hors de son tour."""
        expected = [f"{item} {step}" for item, count in steps.items() for step in range(count)]
        assert out_of_order(self.starts()) == []
        assert self.register.effects() == sorted(expected)
        return True
