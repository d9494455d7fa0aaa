"""Montre l’état du registre."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...models import ABANDONED, Delivery
from ...status import Group, status
from ._options import add_database, seconds

GAUGES = {  # field of a group → name and meaning of its gauge
    "count": ("deliveries", "Deliveries in the register, at most ten thousand of each state."),
    "oldest_seconds": ("deliveries_oldest_seconds", "Age of the oldest of these deliveries."),
    "held_keys": ("deliveries_held_keys", "Ordering keys that a dead delivery holds back."),
}


class Command(BaseCommand):
    """Compte les livraisons par état et par handler, et dit pourquoi elles attendent."""

    help = "Count deliveries by state and handler, with the age of the oldest and why they wait."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print JSON instead of a table")
        form.add_argument(
            "--metrics", action="store_true", help="print the text that Prometheus reads"
        )
        parser.add_argument(
            "--fail-if-older-than",
            type=seconds,
            metavar="SECONDS",
            help="exit with status 1 if a delivery has been pending for longer",
        )
        parser.add_argument(
            "--fail-if-dead", action="store_true", help="exit with status 1 if one was abandoned"
        )
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Écrit l’état sur la sortie standard ; le code de sortie sert à une surveillance."""
        groups = status(options["database"])
        form = _json if options["json"] else _metrics if options["metrics"] else _table
        for line in form(groups):
            self.stdout.write(line)
        alarms = [*_alarms(groups, options["fail_if_older_than"], options["fail_if_dead"])]
        for alarm in alarms:
            self.stderr.write(alarm)
        if alarms:
            sys.exit(1)


def _json(groups: Sequence[Group]) -> Iterator[str]:
    yield json.dumps([asdict(group) for group in groups], indent=2)


def _table(groups: Sequence[Group]) -> Iterator[str]:
    if not groups:
        yield "The register is empty."
        return
    width = max(len(group.handler) for group in groups)
    yield f"{'STATE':8} {'HANDLER':{width}} {'COUNT':>7} {'OLDEST':>10}  WHY"
    for group in groups:
        age = f"{group.oldest_seconds:.0f} s"
        line = f"{group.state:8} {group.handler:{width}} {_count(group):>7} {age:>10}"
        yield f"{line}  {group.why}".rstrip()


def _metrics(groups: Sequence[Group]) -> Iterator[str]:
    for field, (name, meaning) in GAUGES.items():
        yield f"# HELP share_kernel_{name} {meaning}"
        yield f"# TYPE share_kernel_{name} gauge"
        for group in groups:
            handler = group.handler.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            labels = f'state="{group.state}",handler="{handler}"'
            yield f"share_kernel_{name}{{{labels}}} {getattr(group, field)}"


def _alarms(groups: Sequence[Group], limit: float | None, fails: object) -> Iterator[str]:
    for group in groups:
        age, why = group.oldest_seconds, f"({group.why})."
        if limit is not None and group.state == Delivery.State.PENDING and age > limit:
            yield (
                f"--fail-if-older-than {limit:g}: a delivery to {group.handler} has been pending "
                f"for {age:.0f} s {why}"
            )
        if fails and group.state in ABANDONED:
            yield (
                f"--fail-if-dead: {_count(group)} deliveries to {group.handler} were abandoned "
                f"{why} `replay_events --handler {group.handler}` replays them."
            )


def _count(group: Group) -> str:
    return f"{group.count}{'+' if group.more else ''}"
