"""Livrer une ligne : la réclamer, exécuter son handler et la solder ensemble."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connections, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from ...domain.domain_event import (
    DomainEvent,
    NewerEventVersionError,
    PayloadError,
    UnknownEventTypeError,
    UnknownHandlerError,
)
from .. import retry, settings
from ..event_bus import event_bus
from ..handling import handle
from ..logs import ids, log_given_up, logger
from .models import Delivery

CLAIM = 30.0  # seconds before the delivery of a killed worker may start again
BRIEFLY = 0.2  # seconds, the time of a claim that fails
LEASE = 10.0  # seconds before a wake-up that had no effect is sent again, the first time
ERROR_LENGTH = 2000  # characters of an error that a row keeps

_SKEW = (UnknownEventTypeError, NewerEventVersionError, UnknownHandlerError)


def deliver_row(pk: UUID | str, using: str) -> bool:
    """Livre une ligne si son heure est venue ; dit si un essai a eu lieu.

    L’essai est compté et validé d’abord : un handler qui tue son processus est borné aussi.
    Puis le handler s’exécute et la ligne est soldée dans une même transaction : ce qu’il écrit
    dans cette base a lieu exactement une fois.
    """
    if not _claim(pk, using):
        return False
    try:
        with transaction.atomic(using=using):
            row = _locked(pk, using)
            if row is not None:
                _attempt(row, using)
    except OperationalError as error:
        if not _is_lock_error(error):
            raise
        _give_claim_back(pk, using)  # SQLite was busy: the handler has not started
        return False
    return True


def deliver_now(row: Delivery, using: str) -> None:
    """Livre une ligne sans attendre son heure ; l’erreur du handler remonte."""
    with transaction.atomic(using=using):
        _run(row, using)
        _settle(row, Delivery.State.DONE, using)


def due(using: str, now: datetime) -> QuerySet[Delivery]:
    """Renvoie les lignes qu’un worker peut commencer."""
    return Delivery.objects.using(using).filter(state=Delivery.State.PENDING, start_after__lte=now)


def _claim(pk: UUID | str, using: str) -> bool:
    """Réclame la ligne et compte l’essai, en une requête : de N réveils, un seul gagne."""
    now = timezone.now()
    candidates = due(using, now).filter(pk=pk)
    until = now + timedelta(seconds=CLAIM)
    # A row that another worker holds is skipped, not waited for.
    free = _skip_locked(candidates, using).values("pk")
    with transaction.atomic(using=using):
        claimed = (
            Delivery.objects.using(using)
            .filter(pk__in=free, state=Delivery.State.PENDING, start_after__lte=now)
            .update(attempts=F("attempts") + 1, sends=0, start_after=until, send_after=until)
        )
    return bool(claimed)


def _locked(pk: UUID | str, using: str) -> Delivery | None:
    """Verrouille la ligne réclamée, sauf si un autre l’exécute encore."""
    rows = Delivery.objects.using(using).filter(pk=pk, state=Delivery.State.PENDING)
    limit = time.monotonic() + BRIEFLY
    row = _skip_locked(rows, using).first()
    # A rival whose claim came too late holds the row for an instant: not to be taken for one
    # that executes it, or this claim would be an attempt that nobody makes.
    while row is None and time.monotonic() < limit and rows.exists():
        time.sleep(BRIEFLY / 20)
        row = _skip_locked(rows, using).first()
    return row


def _attempt(row: Delivery, using: str) -> None:
    limit = _max_attempts(row)
    if row.attempts > limit:
        _give_up(row, RuntimeError(f"its process was lost {limit} times"), using)
        return
    try:
        # A savepoint of its own: an error of the tenant’s context must not break this transaction,
        # where the failure is about to be written down.
        with transaction.atomic(using=using):
            _run(row, using)
    except _SKEW as error:
        _wait_for_deployment(row, error, using)
    except OperationalError as error:
        if _is_lock_error(error):
            raise
        _retry(row, error, limit, using)
    except Exception as error:
        _retry(row, error, limit, using)
    else:
        _settle(row, Delivery.State.DONE, using)


def _run(row: Delivery, using: str) -> None:
    event = DomainEvent.from_dict(_read(row))
    subscription = event_bus.async_subscription(event.event_type, row.handler)
    handle(subscription, event, depth=row.depth, using=using)


def _read(row: Delivery) -> Any:
    try:
        return json.loads(row.payload)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"delivery {row.pk} holds no JSON: {error}") from None


def _readable(row: Delivery) -> object:
    try:
        return _read(row)
    except PayloadError:
        return row.payload


def _retry(row: Delivery, error: Exception, limit: int, using: str) -> None:
    delay = retry.delay_after(error, row.attempts, limit)
    if delay is None:
        _give_up(row, error, using)
        return
    logger.warning(
        "Handler %s failed on event %s %s (attempt %d of %d), retry in %.1f s: %s",
        row.handler,
        row.event_type,
        row.event_id,
        row.attempts,
        limit,
        delay,
        error,
        exc_info=error,
        extra=ids(_readable(row)),
    )
    _postpone(row, error, delay, using)


def _wait_for_deployment(row: Delivery, error: Exception, using: str) -> None:
    """Ce code ne connaît pas encore l’événement ou le handler : ce n’est pas un essai."""
    row.attempts -= 1
    waited = timezone.now() - row.pending_since
    if waited > timedelta(seconds=retry.SKEW_DELAY * retry.SKEW_ATTEMPTS):
        _give_up(row, error, using)
        return
    logger.warning(
        "Delivery %s waits for a deployment: %s (event %s %s, handler %s)",
        row.pk,
        error,
        row.event_type,
        row.event_id,
        row.handler,
        extra=ids(_readable(row)),
    )
    _postpone(row, error, retry.delay_after_skew(1) or retry.SKEW_DELAY, using)


def _postpone(row: Delivery, error: Exception, delay: float, using: str) -> None:
    row.start_after = row.send_after = timezone.now() + timedelta(seconds=delay)
    row.error = _describe(error)
    row.save(using=using, update_fields=["attempts", "start_after", "send_after", "error"])


def _give_up(row: Delivery, error: Exception, using: str) -> None:
    row.error = _describe(error)
    _settle(row, Delivery.State.DEAD, using)
    payload = _readable(row)
    transaction.on_commit(lambda: log_given_up(payload, row.handler, error), using=using)


def _settle(row: Delivery, state: str, using: str) -> None:
    row.state, row.settled_at = state, timezone.now()
    if state == Delivery.State.DONE:
        row.error = ""
    row.save(using=using, update_fields=["state", "settled_at", "error", "attempts"])


def _give_claim_back(pk: UUID | str, using: str) -> None:
    soon = timezone.now() + timedelta(seconds=1)
    for _ in range(3):  # each waits for the database’s own timeout
        try:
            Delivery.objects.using(using).filter(pk=pk, state=Delivery.State.PENDING).update(
                attempts=F("attempts") - 1, start_after=soon, send_after=soon
            )
        except OperationalError as error:
            if not _is_lock_error(error):
                raise
        else:
            return


def _max_attempts(row: Delivery) -> int:
    try:
        subscription = event_bus.async_subscription(row.event_type, row.handler)
    except UnknownHandlerError:
        return int(settings.get("MAX_ATTEMPTS"))
    return subscription.max_attempts or int(settings.get("MAX_ATTEMPTS"))


def _skip_locked(rows: QuerySet[Delivery], using: str) -> QuerySet[Delivery]:
    if connections[using].features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows


def _is_lock_error(error: OperationalError) -> bool:
    return "locked" in str(error)


def _describe(error: Exception) -> str:
    # NUL is refused by PostgreSQL’s text, and a lone surrogate by its encoding.
    text = f"{type(error).__name__}: {error}".replace("\0", "\\0")
    return text.encode("utf-8", "backslashreplace").decode()[:ERROR_LENGTH]
