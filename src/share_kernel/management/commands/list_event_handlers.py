"""Montre qui réagit à quoi."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...domain.domain_event import UnknownEventTypeError, get_event_class
from ...domain.event_types import event_types
from ...infrastructure.registry import registry
from ...infrastructure.subscriptions import Subscription


class Command(BaseCommand):
    """Affiche chaque événement, ses handlers, leur mode et leur module."""

    requires_system_checks = ()  # it is what one runs when a check complains
    help = "Show who reacts to which event: sync or async, from which module."

    def add_arguments(self, parser: CommandParser) -> None:
        """Déclare les options de la commande."""
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        """Écrit le tableau, ou le JSON, sur la sortie standard."""
        rows = [_row(item) for item in registry.all()]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2))
        elif not rows:
            self.stdout.write("No handler is subscribed.")
        else:
            header = {key: key.upper() for key in rows[0]}
            widths = {key: max(len(row[key]) for row in [header, *rows]) for key in header}
            for row in [header, *rows]:
                line = "  ".join(row[key].ljust(widths[key]) for key in header)
                self.stdout.write(line.rstrip())


def _row(item: Subscription) -> dict[str, str]:
    return {
        "event": item.event_type if _is_declared(item) else f"{item.event_type} (unknown)",
        "mode": "async" if item.is_async else "sync",
        "handler": item.name,
        "module": getattr(item.handler, "__module__", None) or type(item.handler).__module__,
    }


def _is_declared(item: Subscription) -> bool:
    if item.family:
        return any(item.distance(cls) is not None for cls in event_types.values())
    try:
        get_event_class(item.event_type)
    except UnknownEventTypeError:
        return False
    return True
