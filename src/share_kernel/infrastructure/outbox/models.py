"""La table des livraisons : une ligne par événement et par handler asynchrone, et ses états."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any, Self
from zlib import crc32

from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, transaction
from django.db.models.expressions import RawSQL
from django.db.models.functions import Least, Now
from django.utils import timezone
from django.utils.translation import pgettext_lazy

from ...domain.identifiers import uuid7
from .. import settings
from ..subscriptions import NAME_LENGTH
from .repeated import repeated

if not apps.is_installed(__package__):  # Django would take the table for one of the core’s
    raise ImproperlyConfigured(
        f"The durable register is not installed. Add {__package__!r} to INSTALLED_APPS, then run "
        "`manage.py migrate`. (In the reference project: export OUTBOX=1.)"
    )

TABLE = "share_kernel_outbox_delivery"

CLAIM = 30.0  # seconds before the delivery of a killed worker may start again
BRIEFLY = 0.2  # seconds, the time of a claim that fails
LEASE = 10.0  # seconds before a wake-up that had no effect is sent again, the first time
MAX_DOUBLINGS = 6  # of the lease: about ten minutes
HELD = 3600.0  # seconds before rows that a dead one holds back are looked at again
HANDED = 10  # rows of a key that are made due when the one before them is settled
SLICE = 1000  # rows that one statement writes, at most
KEY_LENGTH = 200  # characters; what a longer ordering key becomes is as short

WAITING = "waits for a deployment: "  # how the error of a row begins while code is missing
NOT_SENT = "not sent: "  # and while the broker refuses its wake-up


# For PostgreSQL, conditions on a row.
_LOCKED_HERE = f"{TABLE}.xmax = pg_current_xact_id()::xid"
_UNLOCKED = f"{TABLE}.id IN (SELECT id FROM {TABLE} WHERE id IN ({{}}) FOR UPDATE SKIP LOCKED)"  # noqa: S608  (a constant)


class DatabaseClock(Now):
    """L’heure de la base, en UTC : celle de deux machines ne se comparent jamais."""

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """MariaDB donnerait l’heure de son propre fuseau."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite compare des textes : celui-ci a autant de décimales que ceux de la table."""
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW')"
        return self.as_sql(compiler, connection, template=template, **context)


class NextPosition(models.Expression):
    """Le rang de la ligne dans l’ordre d’écriture, que la base donne dans l’INSERT."""

    output_field = models.BigIntegerField()

    def __init__(self, offset: int = 1) -> None:
        super().__init__()
        self.offset = offset

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """La valeur par défaut de la colonne : une séquence."""
        return "DEFAULT", []

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        """SQLite n’a qu’un écrivain à la fois : le plus grand rang, plus celui dans le lot."""
        rank = f"SELECT COALESCE(MAX(position), 0) + {self.offset:d} FROM {TABLE}"  # noqa: S608  (an int)
        return f"({rank})", []


def at_once() -> datetime:
    """Renvoie l’heure d’une ligne que rien n’a retardée : due, quoi que disent les horloges."""
    return datetime(2000, 1, 1, tzinfo=UTC if django_settings.USE_TZ else None)


def in_seconds(seconds: float) -> models.Expression:
    """Renvoie l’heure qu’il sera dans la base dans *seconds* secondes."""
    return DatabaseClock() + timedelta(seconds=seconds)


def done() -> dict[str, Any]:
    """Renvoie ce que devient une ligne dont le handler a réussi."""
    return {"state": Delivery.State.DONE, "settled_at": DatabaseClock(), "error": ""}


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """La machine à états d’une livraison : rien d’autre n’écrit d’état."""

    def pending(self) -> Self:
        """Renvoie ce qui n’est pas terminé, pour en lire beaucoup."""
        return self.filter(state=Delivery.State.PENDING)

    def unsettled(self) -> Self:
        """Renvoie ce qui n’est pas terminé, pour des lignes que l’on désigne."""
        # Not state = 'pending': statistics taken while nothing waits would make PostgreSQL read
        # the whole partial index of what waits, squared in a claim, rather than the primary key.
        state = Delivery.State
        return self.exclude(state__in=(state.DONE, state.DEAD, state.HOLDING))

    def startable(self) -> Self:
        """Garde ce dont l’heure est venue et que personne n’a réservé, le plus ancien d’abord."""
        now = DatabaseClock()
        free = models.Q(reserved_until__isnull=True) | models.Q(reserved_until__lte=now)
        return self.filter(free, start_after__lte=now).order_by("start_after", "position")

    def due(self) -> Self:
        """Renvoie ce qu’un worker peut commencer."""
        return self.pending().startable()

    def of(self, row: Delivery, **more: Any) -> Self:
        """Renvoie la ligne de cet essai, si elle est encore à lui."""
        # unsettled(), written in the shortest way: each delivery asks it three times.
        return self.filter(id=row.id, attempts=row.attempts, settled_at__isnull=True, **more)

    def reserve(
        self, limit: int, ids: Sequence[uuid.UUID] | None = None, before: datetime | None = None
    ) -> list[Any]:
        """Réserve des lignes dues et compte l’essai de la première ; chaque autre aura le sien.

        Ce qu’un autre tient est sauté. Ce que sa clé retient est mis de côté, pour que la
        recherche suivante ne le relise pas.
        """
        due = self.due() if ids is None else self.unsettled().filter(pk__in=ids).startable()
        due = due.annotate(waited=DatabaseClock() - models.F("pending_since"), now=DatabaseClock())
        if before:
            due = due.filter(start_after__lt=before)
        end = time.monotonic() + BRIEFLY
        while True:
            with transaction.atomic(using=self.db):
                proceeds = ids is not None or self._is_alone() or time.monotonic() > end
                found = list(due.skip_locked()[:limit]) if proceeds else []
                rows = self._in_order(found)
                if rows:
                    self._reserve(rows)
            if rows or (proceeds and not found):
                return rows
            if not proceeds:
                time.sleep(BRIEFLY / 40)

    def _is_alone(self) -> bool:
        """Dit si aucun rival ne cherche de lignes ; il attendra jusqu’à la fin d’ici."""
        # With an older view of the table, PostgreSQL would lock rows that this one has reserved
        # meanwhile, before it sees so: their attempt could not be counted.
        if not self.knows_its_locks():
            return True
        with connections[self.db].cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [crc32(TABLE.encode())])
            return bool(cursor.fetchone()[0])

    def _reserve(self, rows: Sequence[Any]) -> None:
        first, until = rows[0], rows[0].now + timedelta(seconds=CLAIM)
        tried = models.Case(models.When(pk=first.pk, then=1), default=0)
        self.filter(pk__in=[row.pk for row in rows]).update(
            sends=0, reserved_until=until, attempts=models.F("attempts") + tried
        )
        first.attempts += 1
        for row in rows:
            row.reserved_until = until

    def start(self, row: Delivery) -> bool:
        """Compte l’essai d’une ligne réservée, si elle l’est encore et que sa clé est libre."""
        count = self._count if row.key is None else self._count_in_line
        with transaction.atomic(using=self.db, savepoint=False):
            waits = connections[self.db].vendor == "mysql"  # its UPDATE would, for a lock
            started = 0 if waits and not self._lock(row) else count(row)
        row.attempts += started
        return bool(started)

    def _counted(self, row: Any) -> Any:
        mine = self.of(row, reserved_until=row.reserved_until)
        if self.knows_its_locks():
            mine = mine.unlocked([row.id])
        return mine, {"attempts": models.F("attempts") + 1}

    _count = repeated(_counted)

    @repeated
    def _count_in_line(self, row: Any) -> Any:
        held = models.Exists(self.line(row.handler, row.key, row.position))
        mine, change = self._counted(row)
        return mine.exclude(held), change

    def release(self, rows: Sequence[Delivery], untried: Sequence[Delivery] = ()) -> None:
        """Rend des lignes réservées, qui gardent leur place, et l’essai de celles qui en ont un.

        Ce qu’un rival verrouille plus d’un instant n’est pas attendu : sa réservation s’éteindra.
        """
        limit = time.monotonic() + BRIEFLY
        given: list[tuple[DeliveryQuerySet, list[uuid.UUID], dict[str, Any]]] = []
        for row in untried:
            mine = self.of(row, reserved_until=row.reserved_until)
            given.append((mine, [row.pk], {"attempts": row.attempts - 1}))
        if rows:
            ids = [row.pk for row in rows]
            mine = self.unsettled().filter(reserved_until=rows[0].reserved_until)
            given.append((mine, ids, {}))
        while given and time.monotonic() <= limit:
            with transaction.atomic(using=self.db):
                given = [
                    (mine, ids, change)
                    for mine, ids, change in given
                    if mine.unlocked(ids).update(reserved_until=None, **change) < len(ids)
                ]
            # A rival that looks for rows holds these for an instant; the others are no longer ours.
            given = [item for item in given if item[0].filter(pk__in=item[1]).exists()]
            if given:
                time.sleep(BRIEFLY / 20)

    def line(self, handler: Any, key: Any, before: Any) -> Self:
        """Renvoie ce qui retient une ligne : ce qui la précède sous la même clé, et n’est pas fini.

        C’est l’ordre par clé, tout entier : une ligne commence quand rien ne la retient.
        """
        return self._everywhere().filter(
            state__in=IN_LINE, handler=handler, key=key, position__lt=before
        )

    def _everywhere(self) -> Self:
        return self.model.objects.using(self.db)  # type: ignore[return-value]

    def _in_order(self, found: list[Any]) -> list[Any]:
        """Garde ce que rien ne retient, hors ce qui est gardé aussi ; met le reste de côté."""
        keyed = {row.pk: row for row in found if row.key is not None}
        if not keyed:
            return found
        line = self.line(*map(models.OuterRef, ("handler", "key", "position")))
        # One state at a time: MariaDB then reads one row of the index, not the whole line.
        last = line.filter(state=Delivery.State.PENDING).order_by("-position").values("pk")[:1]
        dead = models.Exists(line.filter(state=Delivery.State.HOLDING))
        chosen = self._everywhere().filter(pk__in=keyed).order_by("position")
        kept: set[Any] = set()
        held: dict[tuple[str, str], Any] = {}
        for pk, before, is_dead in chosen.values_list("pk", models.Subquery(last), dead):
            if is_dead or (before is not None and before not in kept):
                held.setdefault((keyed[pk].handler, keyed[pk].key), keyed[pk])
            else:
                kept.add(pk)
        for row in held.values():
            self._set_aside(row)
        rows = [row for row in found if row.key is None or row.pk in kept]
        return sorted(rows, key=attrgetter("position"))

    def _set_aside(self, row: Any) -> None:
        """Remet à plus tard une ligne que sa clé retient, et celles qui la suivent."""
        line = self._everywhere().pending().filter(handler=row.handler, key=row.key)
        head = line.filter(position__lt=row.position).order_by("position").values("start_after")
        start = head.values_list("start_after", flat=True).first()
        later = max(start, row.now + timedelta(seconds=CLAIM)) if start else None
        held = line.startable().filter(position__gte=row.position).order_by("position")
        ids = list(held.skip_locked().values_list("pk", flat=True)[:SLICE])
        self._everywhere().filter(pk__in=ids).update(start_after=later or in_seconds(HELD))

    def hand_over(self, handler: str, key: str) -> list[uuid.UUID]:
        """Rend dues les premières lignes qu’une clé ne retient plus, et les renvoie.

        À appeler après le commit de ce qui les retenait : avant, un rival pourrait encore les
        mettre de côté.
        """
        waiting = self._everywhere().pending().filter(handler=handler, key=key, attempts=0)
        ids = list(waiting.order_by("position").values_list("pk", flat=True)[:HANDED])
        if ids:
            chosen = self._everywhere().filter(pk__in=ids)
            chosen.update(start_after=at_once(), send_after=DatabaseClock())
        return ids

    def lock(self, row: Delivery) -> bool:
        """Verrouille la ligne de cet essai, sauf si un autre l’exécute déjà."""
        limit = time.monotonic() + BRIEFLY
        # A rival that looks for rows may hold this one for an instant: not to be taken for one
        # that executes it, or this would be an attempt that nobody makes.
        while not self._lock(row):
            if time.monotonic() > limit or not self.of(row).exists():
                return False
            time.sleep(BRIEFLY / 20)
        return True

    @repeated
    def _lock(self, row: Any) -> Any:
        return self.of(row).skip_locked().values_list("id"), None

    def renew(self, row: Delivery, seconds: float) -> int:
        """Prolonge la réservation de cet essai."""
        return self.of(row).update(reserved_until=in_seconds(seconds))

    def knows_its_locks(self) -> bool:
        """Dit si la base sait quelle transaction a verrouillé une ligne."""
        return connections[self.db].vendor == "postgresql"

    def settle(self, row: Delivery, *, locked: bool = False) -> int:
        """Termine la ligne de cet essai : son handler a réussi.

        Si ``KEEP_DONE`` est nul, elle est effacée : rien ne dit plus que l’événement, publié à
        nouveau, a déjà été livré.

        Args:
            row: la ligne.
            locked: cette transaction l’a verrouillée ; si une autre lui a succédé, rien n’est fait.
        """
        locked = locked and self.knows_its_locks()
        if settings.get("KEEP_DONE") == 0:
            mine = self._locked_here(row) if locked else self.of(row)
            return mine.delete()[0]
        return self._settle_locked(row) if locked else self._settle(row)

    def _locked_here(self, row: Any) -> Self:
        return self.of(row).filter(RawSQL(_LOCKED_HERE, [], models.BooleanField()))  # noqa: S611  (fixed)

    @repeated
    def _settle(self, row: Any) -> Any:
        return self.of(row), done()

    @repeated
    def _settle_locked(self, row: Any) -> Any:
        return self._locked_here(row), done()

    def postpone(self, row: Delivery, *, delay: float, attempts: int, error: str) -> int:
        """Remet la ligne de cet essai à plus tard."""
        later = in_seconds(delay)
        return self.of(row).update(
            start_after=later,
            send_after=later,
            reserved_until=None,
            attempts=attempts,
            error=error,
        )

    def abandon(self, row: Delivery, *, attempts: int, error: str, holds: bool = False) -> int:
        """Abandonne la ligne de cet essai, qui garde son erreur et peut retenir sa clé."""
        state = Delivery.State.HOLDING if holds else Delivery.State.DEAD
        return self.of(row).update(
            state=state, settled_at=DatabaseClock(), attempts=attempts, error=error
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

    def on_their_way(self, limit: int) -> int:
        """Compte jusqu’à *limit* les réveils envoyés dont l’effet est attendu."""
        sent = self.pending().filter(sends__gt=0, send_after__gt=DatabaseClock())
        return sent.exclude(error__startswith=NOT_SENT)[:limit].count()

    def not_sent(self, ids: Iterable[uuid.UUID]) -> None:
        """Note que le broker manquait : le bail n’a pas commencé."""
        # Counted as sent, an outage would fill the window and double leases for nothing, and the
        # return of the broker would be noticed minutes later.
        rows = self.unsettled().startable().order_by().filter(pk__in=list(ids), sends__gt=0)
        rows.update(sends=models.F("sends") - 1, send_after=DatabaseClock())

    def refused(self, pk: uuid.UUID, error: str) -> None:
        """Note pourquoi un réveil est refusé : la ligne passe derrière les autres."""
        self.unsettled().filter(pk=pk).update(error=NOT_SENT + error)

    def waiting(self) -> Self:
        """Renvoie ce qui attend un déploiement, ou un broker qui accepte son réveil."""
        return self.pending().filter(
            models.Q(error__startswith=WAITING) | models.Q(error__startswith=NOT_SENT)
        )

    def in_state(self, state: str) -> Self:
        """Renvoie les lignes d’un état dans l’ordre de son index, pour en lire beaucoup."""
        # A settled row without a date, which nothing here writes, would be in no index.
        if state == Delivery.State.PENDING:
            return self.pending().order_by("start_after")
        return self.filter(state=state, settled_at__isnull=False).order_by("settled_at")

    def hurry(self) -> int:
        """Rend dues les lignes qui attendent leur heure ou leur réveil ; renvoie combien."""
        now = DatabaseClock()
        due = {"start_after": Least("start_after", now), "send_after": now, "sends": 0}
        early = self.filter(models.Q(start_after__gt=now) | models.Q(send_after__gt=now))
        return sum(rows.unsettled().update(**due) for rows in early.slices(Delivery.State.PENDING))

    def replay(self) -> int:
        """Remet en attente les lignes abandonnées ; renvoie combien."""
        now = DatabaseClock()
        again = {
            "state": Delivery.State.PENDING,
            "attempts": 0,
            "sends": 0,
            "pending_since": now,
            "start_after": now,
            "reserved_until": None,
            "send_after": now,
            "settled_at": None,
        }
        slices = self.slices(*ABANDONED)
        return sum(rows.filter(state__in=ABANDONED).update(**again) for rows in slices)

    def give_up(self, reason: str) -> int:
        """Abandonne ce qui attend, et libère les clés que retient ce qui l’est déjà.

        Une ligne qui s’exécute se termine d’abord.

        Returns:
            combien de lignes ont changé d’état.
        """
        dead = {"state": Delivery.State.DEAD, "error": reason, "settled_at": DatabaseClock()}
        slices = self.slices(Delivery.State.PENDING)
        return sum(rows.unsettled().let_followers_go(**dead) for rows in slices) + self.let_go()

    def let_go(self) -> int:
        """Libère les clés que retiennent des lignes abandonnées ; renvoie combien de lignes."""
        held = (rows.filter(state="holding") for rows in self.slices(Delivery.State.HOLDING))
        return sum(rows.let_followers_go(state=Delivery.State.DEAD) for rows in held)

    def let_followers_go(self, **change: Any) -> int:
        """Écrit *change*, puis rend dues les lignes que celles-ci retenaient par leur clé."""
        keys: set[Any] = set(self.exclude(key=None).values_list("handler", "key"))
        count = self.update(**change)
        for handler, key in keys:
            hand_over = partial(self._everywhere().hand_over, handler, key)
            transaction.on_commit(hand_over, using=self.db)
        return count

    def prune(self, *, days: float | None = None, include_dead: bool = False) -> int:
        """Efface les lignes terminées depuis assez longtemps ; jamais une ligne en attente.

        Args:
            days: depuis combien de jours ; ``EVENT_BUS["KEEP_DONE"]`` si rien n’est dit.
            include_dead: aussi les lignes abandonnées, dont les clés sont libérées.

        Returns:
            combien de lignes sont effacées.
        """
        days = settings.get("KEEP_DONE") if days is None else days
        old, states = self.filter(settled_at__lte=in_seconds(-86400 * days)), ["done"]
        if include_dead:
            old.let_go()
            states.append("dead")
        return sum(rows.filter(state__in=states).delete()[0] for rows in old.slices(*states))

    def slices(self, *states: str) -> Iterator[Self]:
        """Renvoie par tranches les lignes de ces états ; y écrire doit les faire sortir d’ici.

        Une tranche est lue, puis désignée : chaque écriture est courte, et validée seule.
        """
        for state in states:
            rows = rest = self.in_state(state)
            (clock,) = rows.query.order_by
            former: list[Any] = []
            while (found := list(rest.values_list("pk", clock)[:SLICE])) and found != former:
                yield self._everywhere().filter(pk__in=[pk for pk, _ in found])
                # What has left is no longer read, but PostgreSQL would still walk over it.
                former, rest = found, rows.filter(**{f"{clock}__gte": found[-1][1]})

    def unlocked(self, ids: list[uuid.UUID]) -> Self:
        """Désigne, parmi ces lignes, celles que personne ne verrouille : écrire n’attendra pas."""
        if self.knows_its_locks():  # in SQL as it is: each delivery asks it
            sql = _UNLOCKED.format(", ".join(["%s"] * len(ids)) or "NULL")
            return self.filter(RawSQL(sql, ids, models.BooleanField()))  # noqa: S611  (marks only)
        if connections[self.db].vendor == "mysql":  # in a subquery, MariaDB would wait
            ids = list(self.filter(pk__in=ids).skip_locked().values_list("pk", flat=True))
        return self.filter(pk__in=ids)

    def skip_locked(self) -> Self:
        """Saute ce qu’un autre tient, là où la base le permet."""
        if connections[self.db].features.has_select_for_update_skip_locked:
            return self.select_for_update(skip_locked=True)
        return self


# What the state says of a row: it holds back those of its key, it was given up.
IN_LINE = ("pending", "holding")
ABANDONED = ("dead", "holding")


class Delivery(models.Model):
    """Un handler à exécuter sur un événement : boîte d’envoi, essais et rebut en une ligne.

    Elle existe si et seulement si la transaction qui a publié est validée.
    """

    class State(models.TextChoices):
        """Où en est la livraison."""

        PENDING = "pending", pgettext_lazy("share_kernel", "pending")
        DONE = "done", pgettext_lazy("share_kernel", "done")
        DEAD = "dead", pgettext_lazy("share_kernel", "dead")
        HOLDING = "holding", pgettext_lazy("share_kernel", "dead, holds its key back")

    # Chosen by the publisher: the wake-up message needs it, and a row that already exists
    # (the same event published twice) gives none back.
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=200)
    event_version = models.PositiveIntegerField()
    handler = models.CharField(max_length=NAME_LENGTH)
    depth = models.PositiveSmallIntegerField()
    # Strict ASCII JSON in a text: a JSON column refuses NUL on PostgreSQL and accepts it on SQLite.
    payload = models.TextField()

    # The order of publication: rows of one key start in that of their positions.
    position = models.BigIntegerField(default=NextPosition, db_default=0, editable=False)
    key = models.CharField(max_length=KEY_LENGTH, null=True, blank=True)  # noqa: DJ001  (no order)

    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    sends = models.PositiveSmallIntegerField(default=0)  # wake-ups since the last attempt
    error = models.TextField(blank=True, default="")

    created_at = models.DateTimeField(default=timezone.now)
    pending_since = models.DateTimeField(default=timezone.now)
    # When a worker may start (backoff), until when one has reserved the row, and when the relay
    # may send a wake-up again are three times: with a single one, duplicate wake-ups would burn
    # every attempt in milliseconds. The reservation is in no index: PostgreSQL then writes it
    # in place, beside the former version of the row.
    start_after = models.DateTimeField(default=timezone.now)
    reserved_until = models.DateTimeField(null=True, blank=True)
    send_after = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = pgettext_lazy("share_kernel", "delivery")
        verbose_name_plural = pgettext_lazy("share_kernel", "deliveries")
        constraints = [
            models.UniqueConstraint(fields=["event_id", "handler"], name="delivery_once"),
        ]
        # Each begins with the state, a constant on PostgreSQL: MariaDB ignores the condition.
        indexes = [
            models.Index(
                fields=["state", "start_after", "position"],
                name="delivery_due",
                condition=models.Q(state="pending"),
            ),
            models.Index(
                fields=["state", "send_after"],
                name="delivery_send",
                condition=models.Q(state="pending"),
            ),
            models.Index(
                fields=["state", "handler", "key", "position"],
                name="delivery_key",
                condition=models.Q(state__in=["pending", "holding"], key__isnull=False),
            ),
            models.Index(
                fields=["state", "settled_at"],
                name="delivery_settled",
                condition=models.Q(settled_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id} → {self.handler} ({self.state})"
