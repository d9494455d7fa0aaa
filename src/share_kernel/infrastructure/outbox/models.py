"""La table des livraisons : une ligne par événement et par handler asynchrone, et ses états."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Self

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from ..subscriptions import NAME_LENGTH

if not apps.is_installed(__package__):  # Django would take the table for one of the core’s
    raise ImproperlyConfigured(
        f"The durable register is not installed. Add {__package__!r} to INSTALLED_APPS, then run "
        "`manage.py migrate`. (In the reference project: export OUTBOX=1.)"
    )

CLAIM = 30.0  # seconds before the delivery of a killed worker may start again
BRIEFLY = 0.2  # seconds, the time of a claim that fails
LEASE = 10.0  # seconds before a wake-up that had no effect is sent again, the first time
MAX_DOUBLINGS = 6  # of the lease: about ten minutes

WAITING = "waits for a deployment: "  # how the error of a row begins while code is missing
NOT_SENT = "not sent: "  # and while the broker refuses its wake-up


class DatabaseClock(Now):
    """L’heure de la base, en UTC : celle de deux machines ne se comparent jamais."""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Sans ``USE_TZ``, PostgreSQL écrirait une heure locale, que l’automne répète."""
        local = "STATEMENT_TIMESTAMP()"
        template = local if settings.USE_TZ else f"({local} AT TIME ZONE 'UTC')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """MariaDB donnerait l’heure de son propre fuseau."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite compare des textes : celui-ci a autant de décimales que ceux de la table."""
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW')"
        return self.as_sql(compiler, connection, template=template, **context)


def in_seconds(seconds: float) -> models.Expression:
    """Renvoie l’heure qu’il sera dans la base dans *seconds* secondes."""
    return DatabaseClock() + timedelta(seconds=seconds)


def long_ago() -> Any:
    """Renvoie une heure passée, quoi que dise l’horloge de celui qui publie."""
    return timezone.now() - timedelta(days=365)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """La machine à états d’une livraison : rien d’autre n’écrit d’état."""

    def pending(self) -> Self:
        """Renvoie ce qui n’est pas soldé, pour en lire beaucoup."""
        return self.filter(state=Delivery.State.PENDING)

    def due(self) -> Self:
        """Renvoie ce qu’un worker peut commencer, dans l’ordre de publication."""
        return self.pending().filter(start_after__lte=DatabaseClock()).order_by("created_at")

    def unsettled(self) -> Self:
        """Renvoie ce qui n’est pas soldé, pour une ligne que l’on désigne."""
        # Not state = 'pending': statistics taken while nothing waits would make PostgreSQL read
        # the whole partial index of what waits, squared in a claim, rather than the primary key.
        return self.exclude(state__in=(Delivery.State.DONE, Delivery.State.DEAD))

    def of(self, row: Delivery) -> Self:
        """Renvoie la ligne de cet essai, si elle est encore à lui."""
        return self.unsettled().filter(pk=row.pk, attempts=row.attempts)

    def claim(self, pk: uuid.UUID | str) -> Delivery | None:
        """Réserve la ligne et compte l’essai : de N réveils simultanés, un seul gagne."""
        waited = DatabaseClock() - models.F("pending_since")
        started = self.unsettled().filter(pk=pk, start_after__lte=DatabaseClock())
        until = in_seconds(CLAIM)
        with transaction.atomic(using=self.db):
            # A row that another worker holds is skipped, not waited for. Locked first and written
            # next: in one statement, MariaDB would wait for it all the same.
            row: Delivery | None = started.annotate(waited=waited).skip_locked().first()
            if row is None:
                return None
            row.attempts += 1
            claimed = started.filter(attempts=row.attempts - 1).update(
                attempts=row.attempts, sends=0, start_after=until, send_after=until
            )
        return row if claimed else None

    def lock(self, row: Delivery) -> bool:
        """Verrouille la ligne de cet essai, sauf si un autre l’exécute déjà."""
        mine = self.of(row)
        limit = time.monotonic() + BRIEFLY
        free = mine.skip_locked().values("pk")
        locked = free.first()
        # A rival whose claim came too late holds the row for an instant: not to be taken for one
        # that executes it, or this claim would be an attempt that nobody makes.
        while locked is None and time.monotonic() < limit and mine.exists():
            time.sleep(BRIEFLY / 20)
            locked = free.first()
        return locked is not None

    def renew(self, row: Delivery, seconds: float) -> int:
        """Prolonge la réservation de cet essai."""
        until = in_seconds(seconds)
        return self.of(row).update(start_after=until, send_after=until)

    def settle(self, row: Delivery) -> int:
        """Solde la ligne de cet essai : son handler a réussi."""
        return self.of(row).update(state=Delivery.State.DONE, settled_at=DatabaseClock(), error="")

    def postpone(self, row: Delivery, *, delay: float, attempts: int, error: str) -> int:
        """Remet la ligne de cet essai à plus tard."""
        later = in_seconds(delay)
        return self.of(row).update(
            start_after=later, send_after=later, attempts=attempts, error=error
        )

    def abandon(self, row: Delivery, *, attempts: int, error: str) -> int:
        """Abandonne la ligne de cet essai ; elle garde son erreur."""
        return self.of(row).update(
            state=Delivery.State.DEAD, settled_at=DatabaseClock(), attempts=attempts, error=error
        )

    def lease(self, limit: int) -> list[Delivery]:
        """Prend des lignes dont le réveil est en retard ; chaque renvoi double le bail."""
        late = self.due().filter(send_after__lte=DatabaseClock()).order_by("send_after")
        with transaction.atomic(using=self.db):
            rows = list(late.defer("payload").skip_locked()[: max(limit, 0)])
            for sends in {row.sends for row in rows}:
                group = [row.pk for row in rows if row.sends == sends]
                until = in_seconds(LEASE * 2 ** min(sends, MAX_DOUBLINGS))
                self.filter(pk__in=group).update(sends=sends + 1, send_after=until)
        return rows

    def on_their_way(self) -> int:
        """Compte les réveils envoyés dont l’effet est attendu."""
        sent = self.pending().filter(sends__gt=0, send_after__gt=DatabaseClock())
        return sent.exclude(error__startswith=NOT_SENT).count()

    def not_sent(self, ids: Iterable[uuid.UUID]) -> None:
        """Note que le broker manquait : le bail n’a pas commencé."""
        # Counted as sent, an outage would fill the window and double leases for nothing, and the
        # return of the broker would be noticed minutes later.
        rows = self.due().order_by().filter(pk__in=list(ids), sends__gt=0)
        rows.update(sends=models.F("sends") - 1, send_after=DatabaseClock())

    def refused(self, pk: uuid.UUID, error: str) -> None:
        """Note pourquoi un réveil est refusé : la ligne passe derrière les autres."""
        self.unsettled().filter(pk=pk).update(error=NOT_SENT + error)

    def waiting(self) -> Self:
        """Renvoie ce qui attend un déploiement, ou un broker qui accepte son réveil."""
        return self.pending().filter(
            models.Q(error__startswith=WAITING) | models.Q(error__startswith=NOT_SENT)
        )

    def hurry(self) -> int:
        """Rend dues les lignes qui attendent ; renvoie combien."""
        now = DatabaseClock()
        return self.pending().update(start_after=now, send_after=now, sends=0)

    def replay(self) -> int:
        """Remet en attente les lignes abandonnées ; renvoie combien."""
        now = DatabaseClock()
        return self.filter(state=Delivery.State.DEAD).update(
            state=Delivery.State.PENDING,
            attempts=0,
            sends=0,
            pending_since=now,
            start_after=now,
            send_after=now,
            settled_at=None,
        )

    def give_up(self, reason: str) -> int:
        """Abandonne les lignes en attente ; celle qui s’exécute se solde d’abord."""
        return self.pending().update(
            state=Delivery.State.DEAD, error=reason, settled_at=DatabaseClock()
        )

    def prune(self, *, days: float, include_dead: bool) -> int:
        """Efface les lignes soldées depuis plus de *days* jours ; jamais une ligne en attente."""
        states = [Delivery.State.DONE, *([Delivery.State.DEAD] if include_dead else [])]
        count, _ = self.filter(state__in=states, settled_at__lt=in_seconds(-86400 * days)).delete()
        return count

    def skip_locked(self) -> Self:
        """Saute ce qu’un autre tient, là où la base le permet."""
        if connections[self.db].features.has_select_for_update_skip_locked:
            return self.select_for_update(skip_locked=True)
        return self


class Delivery(models.Model):
    """Un handler à exécuter sur un événement : boîte d’envoi, essais et rebut en une ligne.

    Elle existe si et seulement si la transaction qui a publié est validée.
    """

    class State(models.TextChoices):
        """Où en est la livraison."""

        PENDING = "pending", "en attente"
        DONE = "done", "faite"
        DEAD = "dead", "abandonnée"

    # Chosen by the publisher: the wake-up message needs it, and a row that already exists
    # (the same event published twice) gives none back.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=200)
    event_version = models.PositiveIntegerField()
    handler = models.CharField(max_length=NAME_LENGTH)
    depth = models.PositiveSmallIntegerField()
    # Strict ASCII JSON in a text: a JSON column refuses NUL on PostgreSQL and accepts it on SQLite.
    payload = models.TextField()

    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    sends = models.PositiveSmallIntegerField(default=0)  # wake-ups since the last attempt
    error = models.TextField(blank=True, default="")

    created_at = models.DateTimeField(default=timezone.now)
    pending_since = models.DateTimeField(default=timezone.now)
    # When a worker may start (backoff, and the claim of another worker) and when the relay may
    # send a wake-up again are two different times: with a single one, duplicate wake-ups would
    # burn every attempt in milliseconds.
    start_after = models.DateTimeField(default=timezone.now)
    send_after = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["event_id", "handler"], name="delivery_once"),
        ]
        indexes = [
            models.Index(
                fields=["send_after"], name="delivery_pending", condition=models.Q(state="pending")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id} → {self.handler} ({self.state})"
