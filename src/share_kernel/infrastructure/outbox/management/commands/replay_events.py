"""Ranime des livraisons abandonnées."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from ...models import Delivery
from ...settling import replay


class Command(BaseCommand):
    """Remet en attente des livraisons abandonnées ; leurs essais repartent de zéro."""

    help = "Revive dead deliveries: their attempts start again from zero."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument("--all", action="store_true", help="every dead delivery")
        parser.add_argument("--event-type", help="only those of this event")
        parser.add_argument("--handler", help="only those of this handler")
        parser.add_argument("--id", action="append", help="only this delivery; may be repeated")
        parser.add_argument("--dry-run", action="store_true", help="count, change nothing")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="alias of the database")

    def handle(self, *args: Any, **options: Any) -> None:
        """Choisit les lignes, puis les ranime."""
        chosen = {
            "event_type": options["event_type"],
            "handler": options["handler"],
            "pk__in": options["id"],
        }
        filters = {name: value for name, value in chosen.items() if value}
        if not filters and not options["all"]:
            raise CommandError("Choose with --event-type, --handler or --id, or pass --all.")
        dead = Delivery.objects.using(options["database"]).filter(state=Delivery.State.DEAD)
        rows = dead.filter(**filters)
        if options["dry_run"]:
            self.stdout.write(f"Deliveries that would be replayed: {rows.count()}.")
        else:
            self.stdout.write(f"Deliveries that will be replayed: {replay(rows)}.")
