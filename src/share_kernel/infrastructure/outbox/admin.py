"""Le registre dans l’administration de Django : lire, livrer, rejouer, abandonner."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db import transaction
from django.db.models import DateTimeField, Q
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import template_localtime  # type: ignore[attr-defined]
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ...domain.event_types import event_types
from ..registry import registry
from .delivering import readable
from .models import ABANDONED, Delivery, DeliveryQuerySet
from .relay import wake

_META = Delivery._meta  # noqa: SLF001  (Django documents it)
OPEN = (Delivery.State.PENDING, *ABANDONED)
# Of a state, how many deliveries are listed, and among how many those of a handler are looked for:
# the cost is bounded, whatever is asked.
SHOWN, SEARCHED = 1_000, 10_000

for _field in _META.fields:  # said here, a label is in no migration
    _field.verbose_name = pgettext_lazy("share_kernel", str(_field.verbose_name))


class StateFilter(admin.SimpleListFilter):
    """Montre d’abord ce qui n’est pas fait ; d’un état, les dernières livraisons seulement."""

    title = pgettext_lazy("share_kernel", "state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Les états."""
        return list(Delivery.State.choices)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Les états, après tout ce qui n’est pas fait."""
        every, *states = super().choices(changelist)
        return iter([{**every, "display": pgettext_lazy("share_kernel", "not done")}, *states])

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Choisit l’état, et borne ce qui est lu, sauf de ce que la recherche désigne."""
        chosen = [self.value()] if self.value() in Delivery.State.values else []
        if _identifier(request.GET.get(SEARCH_VAR, "")):
            return queryset.filter(state__in=chosen or Delivery.State.values)
        query = request.GET
        named = {name: query[name] for name in ("event_type", "handler") if name in query}
        newest = (_newest(queryset.in_state(state), named) for state in chosen or OPEN)
        acted_on = request.POST.getlist(ACTION_CHECKBOX_NAME)  # newer ones may hide them since
        return queryset.filter(pk__in=[*acted_on, *chain.from_iterable(newest)])


def _newest(rows: Any, named: dict[str, str]) -> Any:
    """Renvoie les clés des dernières lignes choisies, cherchées parmi assez de lignes."""
    (clock,) = rows.query.order_by
    times = rows.reverse().values_list(clock, flat=True)
    for edge in times[SEARCHED : SEARCHED + 1] if named else ():
        rows = rows.filter(**{f"{clock}__gte": edge})
    return rows.reverse().filter(**named).values_list("pk", flat=True)[:SHOWN]


class KnownFilter(admin.AllValuesFieldListFilter):
    """Propose ce que le code connaît : la table, il faudrait la lire entière."""

    def __init__(self, field: Any, *args: Any, **named: Any) -> None:
        super().__init__(field, *args, **named)
        handlers = {item.name for item in registry.all() if item.is_async}
        self.lookup_choices: Any = sorted(handlers if field.name == "handler" else event_types)


def _shown(name: str) -> Any:
    """Renvoie de quoi montrer un champ : changer une date de fuseau peut la rendre impossible."""
    field: Any = _META.get_field(name)

    @admin.display(description=field.verbose_name, ordering=name)
    def show(row: Delivery) -> Any:
        value = getattr(row, name)
        try:
            return localize(template_localtime(value)) or "-"
        except OverflowError:
            return str(value)

    show.__name__ = name
    return show if isinstance(field, DateTimeField) else name


def _breakable(text: str) -> str:
    """Renvoie un texte qu’une colonne étroite peut couper dans un nom ou une adresse."""
    parts = re.split(r"(?<=\w)(?=[._/])", text)
    return format_html_join(SafeString("<wbr>"), "{}", ([part] for part in parts))


def _identifier(text: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(text.strip())
    return None


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no subscript at run time
    """En lecture seule, sauf les trois actions."""

    list_display = [
        "names",
        *map(_shown, ("state", "attempts")),
        "short_error",
        _shown("pending_since"),
    ]
    list_filter = (StateFilter, ("event_type", KnownFilter), ("handler", KnownFilter))
    search_fields = ("=event_id",)  # shows the field; what it finds is below
    search_help_text = _("The UUID of an event or of a delivery")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-pending_since",)
    actions = ("deliver_selected", "replay_selected", "give_up_selected")
    readonly_fields = (
        *(_shown(field.name) for field in _META.fields if field.name != "payload"),
        "readable_payload",
    )
    fields = readonly_fields

    @admin.display(description=_META.verbose_name, ordering="event_type")
    def names(self, row: Delivery) -> str:
        """Renvoie l’événement puis le handler."""
        return format_html("{}<br>{}", _breakable(row.event_type), _breakable(row.handler))

    @admin.display(description=pgettext_lazy("share_kernel", "error"))
    def short_error(self, row: Delivery) -> str:
        """Renvoie la première ligne de l’erreur."""
        return _breakable(row.error.partition("\n")[0][:100])

    @admin.display(description=pgettext_lazy("share_kernel", "payload"))
    def readable_payload(self, row: Delivery) -> str:
        """Renvoie la charge utile mise en page, ou telle quelle si elle est illisible."""
        payload = readable(row)
        try:
            text = json.dumps(payload, indent=2, ensure_ascii=False)
            text.encode()  # a lone surrogate has no place in a page
        except (ValueError, RecursionError):
            payload = row.payload
        return format_html("<pre>{}</pre>", payload if isinstance(payload, str) else text)

    @admin.action(description=_("Replay the selected dead deliveries"), permissions=["settle"])
    def replay_selected(self, request: HttpRequest, rows: DeliveryQuerySet) -> None:
        """Rejoue les lignes choisies qui étaient abandonnées."""
        text = _("Deliveries that will be replayed: %(count)d.")
        self.message_user(request, text % {"count": rows.replay()})
        transaction.on_commit(partial(wake, rows.db), using=rows.db)

    @admin.action(
        description=_("Deliver the selected waiting deliveries now"), permissions=["settle"]
    )
    def deliver_selected(self, request: HttpRequest, rows: DeliveryQuerySet) -> None:
        """Rend dues celles qui attendaient leur heure ; un worker ou un relais les livre."""
        text = _("Deliveries that are due now: %(count)d.")
        self.message_user(request, text % {"count": rows.hurry()})
        transaction.on_commit(partial(wake, rows.db), using=rows.db)

    @admin.action(description=_("Give up the selected deliveries"), permissions=["settle"])
    def give_up_selected(self, request: HttpRequest, rows: DeliveryQuerySet) -> None:
        """Abandonne celles qui attendaient ; libère la clé de celles qui la retenaient."""
        count = rows.give_up(f"Given up by {request.user}")
        text = _("Deliveries abandoned: %(count)d.")
        self.message_user(request, text % {"count": count}, messages.WARNING)

    def get_queryset(self, request: HttpRequest) -> Any:
        """La charge utile n’est lue que pour la page d’une livraison."""
        return super().get_queryset(request).defer("payload")

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> Any:
        """Cherche un identifiant exact, par son index."""
        if not search_term.strip():
            return queryset, False
        wanted = _identifier(search_term)
        found = queryset.filter(Q(event_id=wanted) | Q(pk=wanted))
        return found if wanted else queryset.none(), False

    def has_settle_permission(self, request: HttpRequest) -> bool:
        """Rejouer et abandonner demandent le droit de modifier une livraison."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.change_delivery"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Une livraison naît d’une publication."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Enregistrer le formulaire récrirait l’état qu’un *worker* vient d’écrire."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Effacer est le travail de ``prune_events``."""
        return False
