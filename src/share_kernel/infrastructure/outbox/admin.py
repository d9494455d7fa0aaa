"""Le registre dans l’administration de Django : lire, ranimer, abandonner."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.html import format_html

from .delivering import readable
from .models import Delivery, DeliveryQuerySet


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no subscript at run time
    """En lecture seule, sauf les deux actions."""

    list_display = ("event_type", "handler", "state", "attempts", "pending_since", "short_error")
    list_filter = ("state", "event_type", "handler", "pending_since")
    search_fields = ("event_id", "event_type", "handler")
    date_hierarchy = "pending_since"
    ordering = ("-pending_since",)
    actions = ("replay_selected", "give_up_selected")
    exclude = ("payload",)

    @admin.display(description="error")
    def short_error(self, row: Delivery) -> str:
        """Renvoie la première ligne de l’erreur."""
        return row.error.partition("\n")[0][:100]

    @admin.display(description="payload")
    def readable_payload(self, row: Delivery) -> str:
        """Renvoie la charge utile mise en page, ou telle quelle si elle est illisible."""
        payload = readable(row)
        try:
            text = json.dumps(payload, indent=2, ensure_ascii=False)
            text.encode()  # a lone surrogate has no place in a page
        except (ValueError, RecursionError):
            payload = row.payload
        return format_html("<pre>{}</pre>", payload if isinstance(payload, str) else text)

    @admin.action(description="Replay the selected dead deliveries", permissions=["settle"])
    def replay_selected(self, request: HttpRequest, rows: DeliveryQuerySet) -> None:
        """Ranime les lignes choisies qui étaient abandonnées."""
        self.message_user(request, f"Deliveries that will be replayed: {rows.replay()}.")

    @admin.action(description="Give up the selected pending deliveries", permissions=["settle"])
    def give_up_selected(self, request: HttpRequest, rows: DeliveryQuerySet) -> None:
        """Abandonne les lignes choisies qui attendaient."""
        count = rows.give_up(f"Given up by {request.user}")
        self.message_user(request, f"Deliveries abandoned: {count}.", messages.WARNING)

    def get_readonly_fields(self, request: HttpRequest, obj: Delivery | None = None) -> list[str]:
        """Tous les champs, et la charge utile mise en page."""
        names = [field.name for field in self.opts.fields if field.name != "payload"]
        return [*names, "readable_payload"]

    def has_settle_permission(self, request: HttpRequest) -> bool:
        """Ranimer et abandonner demandent le droit de modifier une livraison."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.change_delivery"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Une livraison naît d’une publication."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Enregistrer le formulaire récrirait l’état qu’un *worker* vient de solder."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Effacer est le travail de ``prune_events``."""
        return False
