"""Montre l’état du registre."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Count, Max, Min, Q

from ...models import NOT_SENT, WAITING, DatabaseClock, Delivery
from ._options import add_database, seconds

_REASON = 200  # characters
_WAITING, _NOT_SENT = Q(error__startswith=WAITING), Q(error__startswith=NOT_SENT)


class Command(BaseCommand):
    """Compte les livraisons par état et par handler, et dit pourquoi elles attendent."""

    help = "Count deliveries by state and handler, with the age of the oldest and why they wait."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
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
        rows = _status(options["database"])
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        else:
            self._table(rows)
        alarms = [
            *_too_old(rows, options["fail_if_older_than"]),
            *_dead(rows, fails=options["fail_if_dead"]),
        ]
        for alarm in alarms:
            self.stderr.write(alarm)
        if alarms:
            sys.exit(1)

    def _table(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            self.stdout.write("The register is empty.")
            return
        width = max(len(row["handler"]) for row in rows)
        self.stdout.write(f"{'STATE':8} {'HANDLER':{width}} {'COUNT':>7} {'OLDEST':>10}  WHY")
        for row in rows:
            age = f"{row['oldest_seconds']:.0f} s"
            line = f"{row['state']:8} {row['handler']:{width}} {row['count']:>7} {age:>10}"
            self.stdout.write(f"{line}  {row['why']}".rstrip())


def _status(using: str) -> list[dict[str, Any]]:
    groups = (
        Delivery.objects.using(using)
        .values("state", "handler")
        .annotate(
            count=Count("pk"),
            age=DatabaseClock() - Min("pending_since"),
            waiting=Count("pk", filter=_WAITING),
            not_sent=Count("pk", filter=_NOT_SENT),
            due=Count("pk", filter=Q(start_after__lte=DatabaseClock()) & ~_WAITING & ~_NOT_SENT),
            reason=Max("error"),
        )
        .order_by("state", "handler")
    )
    return [
        {
            "state": group["state"],
            "handler": group["handler"],
            "count": group["count"],
            "oldest_seconds": round(group["age"].total_seconds(), 1),
            "why": _why(group),
        }
        for group in groups
    ]


def _why(group: Mapping[str, Any]) -> str:
    """Dit en une ligne ce que ces livraisons attendent, ou ce qui les a fait abandonner."""
    reason = group["reason"].partition("\n")[0][:_REASON]
    if group["state"] != Delivery.State.PENDING:
        return str(reason)
    later = group["count"] - group["due"] - group["waiting"] - group["not_sent"]
    counts = {
        "due": group["due"],
        "to be tried again, or running": later,
        "waiting for a deployment": group["waiting"],
        "not sent": group["not_sent"],
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count > 0)
    return f"{told}: {reason}" if reason else told


def _too_old(rows: list[dict[str, Any]], limit: float | None) -> Iterator[str]:
    for row in rows:
        age = row["oldest_seconds"]
        if limit is not None and row["state"] == Delivery.State.PENDING and age > limit:
            yield (
                f"--fail-if-older-than {limit:g}: a delivery to {row['handler']} has been pending "
                f"for {age:.0f} s ({row['why']})."
            )


def _dead(rows: list[dict[str, Any]], *, fails: bool) -> Iterator[str]:
    for row in rows:
        if fails and row["state"] == Delivery.State.DEAD:
            yield (
                f"--fail-if-dead: {row['count']} deliveries to {row['handler']} were abandoned "
                f"({row['why']}). `replay_events --handler {row['handler']}` revives them."
            )
