"""Rejoue des livraisons abandonnées, ou presse celles qui attendent un déploiement."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...models import ABANDONED, Delivery
from ...relay import wake
from ._options import add_database, identifier


class Command(BaseCommand):
    """Remet en attente des livraisons abandonnées ; leurs essais repartent de zéro."""

    help = "Revive dead deliveries: their attempts start again from zero."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument("--all", action="store_true", help="every dead delivery")
        parser.add_argument("--event-type", help="only those of this event")
        parser.add_argument("--handler", help="only those of this handler")
        parser.add_argument(
            "--id", type=identifier, action="append", help="only this delivery; may be repeated"
        )
        parser.add_argument(
            "--waiting",
            action="store_true",
            help="instead of the dead ones, deliver now those that wait for a deployment",
        )
        parser.add_argument("--dry-run", action="store_true", help="count, change nothing")
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Choisit les lignes, puis les rejoue."""
        chosen = {
            "event_type": options["event_type"],
            "handler": options["handler"],
            "pk__in": options["id"],
        }
        filters = {name: value for name, value in chosen.items() if value is not None}
        waiting = options["waiting"]
        if not filters and not options["all"] and not waiting:
            raise CommandError(
                "Choose with --event-type, --handler or --id, or pass --all or --waiting."
            )
        using = options["database"]
        every = Delivery.objects.using(using).filter(**filters)
        dead = every.filter(state__in=ABANDONED, settled_at__isnull=False)
        rows = every.waiting() if waiting else dead
        if options["dry_run"]:
            self.stdout.write(f"Deliveries that would be replayed: {rows.count()}.")
            return
        count = rows.hurry() if waiting else rows.replay()
        self.stdout.write(f"Deliveries that will be replayed: {count}.")
        wake(using)
