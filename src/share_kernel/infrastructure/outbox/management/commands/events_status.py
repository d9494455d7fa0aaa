"""Montre l’état du registre."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count, Min
from django.utils import timezone

from ...models import Delivery


class Command(BaseCommand):
    """Compte les livraisons par état et par handler, et donne l’âge de la plus ancienne."""

    help = "Count deliveries by state and handler, with the age of the oldest one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
        parser.add_argument(
            "--fail-if-older-than",
            type=float,
            metavar="SECONDS",
            help="exit with status 1 if a delivery has been pending for longer",
        )
        parser.add_argument(
            "--fail-if-dead", action="store_true", help="exit with status 1 if one was abandoned"
        )
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="alias of the database")

    def handle(self, *args: Any, **options: Any) -> None:
        """Écrit l’état sur la sortie standard ; le code de sortie sert à une surveillance."""
        rows = _status(options["database"])
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        else:
            self._table(rows)
        if _alarm(rows, options["fail_if_older_than"], dead_matters=options["fail_if_dead"]):
            sys.exit(1)

    def _table(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            self.stdout.write("The register is empty.")
            return
        width = max(len(row["handler"]) for row in rows)
        self.stdout.write(f"{'STATE':8} {'HANDLER':{width}} {'COUNT':>7} {'OLDEST':>10}")
        for row in rows:
            age = f"{row['oldest_seconds']:.0f} s"
            self.stdout.write(
                f"{row['state']:8} {row['handler']:{width}} {row['count']:>7} {age:>10}"
            )


def _status(using: str) -> list[dict[str, Any]]:
    now = timezone.now()
    groups = (
        Delivery.objects.using(using)
        .values("state", "handler")
        .annotate(count=Count("pk"), oldest=Min("pending_since"))
        .order_by("state", "handler")
    )
    return [
        {
            "state": group["state"],
            "handler": group["handler"],
            "count": group["count"],
            "oldest_seconds": round((now - group["oldest"]).total_seconds(), 1),
        }
        for group in groups
    ]


def _alarm(rows: list[dict[str, Any]], limit: float | None, *, dead_matters: bool) -> bool:
    late = limit is not None and any(
        row["state"] == Delivery.State.PENDING and row["oldest_seconds"] > limit for row in rows
    )
    return late or (dead_matters and any(row["state"] == Delivery.State.DEAD for row in rows))
