"""Efface les livraisons terminées."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from .... import settings
from ...models import Delivery
from ._options import add_database, days


class Command(BaseCommand):
    """Efface les livraisons faites depuis assez longtemps ; jamais une livraison en attente."""

    help = "Delete settled deliveries. A pending one is never deleted."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        kept, text = settings.get("KEEP_DONE"), "settled at least this long ago"
        parser.add_argument("--days", type=days, default=kept, help=f"{text} (default: KEEP_DONE)")
        parser.add_argument("--dead", action="store_true", help="also the abandoned ones")
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Efface, et dit combien."""
        rows = Delivery.objects.using(options["database"])
        count = rows.prune(days=options["days"], include_dead=options["dead"])
        self.stdout.write(f"Deliveries deleted: {count}.")
