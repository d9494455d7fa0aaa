"""Ce qu’un exploitant fait d’une livraison : la ranimer, l’abandonner, l’effacer."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from .models import Delivery


def replay(rows: QuerySet[Delivery]) -> int:
    """Remet en attente les lignes abandonnées parmi *rows* ; renvoie combien."""
    now = timezone.now()
    return rows.filter(state=Delivery.State.DEAD).update(
        state=Delivery.State.PENDING,
        attempts=0,
        sends=0,
        pending_since=now,
        start_after=now,
        send_after=now,
        settled_at=None,
    )


def give_up(rows: QuerySet[Delivery], reason: str) -> int:
    """Abandonne les lignes en attente parmi *rows* ; celle qui s’exécute se solde d’abord."""
    return rows.filter(state=Delivery.State.PENDING).update(
        state=Delivery.State.DEAD, error=reason, settled_at=timezone.now()
    )


def prune(rows: QuerySet[Delivery], *, days: float, include_dead: bool) -> int:
    """Efface les lignes soldées depuis plus de *days* jours ; jamais une ligne en attente."""
    states = [Delivery.State.DONE, *([Delivery.State.DEAD] if include_dead else [])]
    before = timezone.now() - timedelta(days=days)
    count, _ = rows.filter(state__in=states, settled_at__lt=before).delete()
    return count
