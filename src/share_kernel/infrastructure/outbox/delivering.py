"""Livrer une ligne : la réserver, exécuter son handler, et écrire le verdict."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, connections, transaction

from ...domain.domain_event import UnfinishedHandlerError
from ..handling import SKEW_DELAY, NotStarted, TooManyAttemptsError, Verdict, attempt
from ..logs import ERROR_LENGTH, describe, identify, log_again, log_given_up, logger
from ..subscriptions import Subscription
from .models import CLAIM, WAITING, Delivery

TRIES = 3  # of a small write; each waits for the database’s own timeout


def deliver_row(pk: UUID | str, using: str) -> bool:
    """Livre une ligne si son heure est venue ; dit si un essai a eu lieu.

    L’essai est compté et validé d’abord : un handler qui tue son processus est borné aussi.
    Puis le handler s’exécute et la ligne est soldée dans une même transaction : ce qu’il écrit
    dans cette base a lieu exactement une fois. Un échec s’écrit dans une transaction neuve, car
    la base a pu mettre fin à la sienne.
    """
    try:
        row = Delivery.objects.using(using).claim(pk)
    except OperationalError as error:
        if not _is_about_locks(error):
            raise
        logger.info("Delivery %s is busy, it will be tried again: %s", pk, error)
        return False
    if row is None:
        return False
    try:
        verdict = _attempt(row, using)
    except NotStarted as error:
        _give_back(row, error, using)
        return False
    if verdict.error:
        _write(row, verdict, using)
    if verdict.stop:
        raise verdict.stop
    return True


def deliver_now(row: Delivery, using: str) -> Verdict:
    """Livre une ligne sans attendre son heure, pour ``deliver_pending()``."""
    within = partial(_settled, row, using)
    return attempt(readable(row), row.handler, row.depth, using, within=within)


def readable(row: Delivery) -> Any:
    """Renvoie la charge utile, ou son texte s’il est illisible."""
    try:
        return json.loads(row.payload)
    except (ValueError, RecursionError):
        return row.payload


def _attempt(row: Any, using: str) -> Verdict:
    return attempt(
        readable(row),
        row.handler,
        row.depth,
        using,
        attempts=row.attempts,
        # A row that was not waiting yet is not given up at its first look-up, whatever its age.
        waits=int(row.waited.total_seconds() / SKEW_DELAY) if row.error.startswith(WAITING) else 0,
        within=partial(_reserved, row, using),
    )


@contextmanager
def _reserved(row: Delivery, using: str, subscription: Subscription) -> Iterator[None]:
    """Entoure le handler : la ligne est à lui, et soldée avec ce qu’il écrit."""
    if not subscription.atomic:
        with _renewed(row, using, subscription):
            yield
        _settle(row, using)
        return
    started = False
    try:
        with transaction.atomic(using=using):
            if not Delivery.objects.using(using).lock(row):
                raise NotStarted
            started = True
            yield
            _settle(row, using)
    except DatabaseError as error:
        if started:
            raise
        raise NotStarted from error


@contextmanager
def _settled(row: Delivery, using: str, _: Subscription) -> Iterator[None]:
    with transaction.atomic(using=using):
        yield
        _settle(row, using)


def _settle(row: Delivery, using: str) -> None:
    if not Delivery.objects.using(using).settle(row):
        raise UnfinishedHandlerError(
            f"Handler {row.handler} of {row.event_type} {row.event_id} returned, but its delivery "
            "is no longer reserved for it: another process took it, or somebody deleted it."
        )


@contextmanager
def _renewed(row: Delivery, using: str, subscription: Subscription) -> Iterator[None]:
    """Garde la réservation d’un handler sans transaction tant que son processus vit."""
    rows = Delivery.objects.using(using)
    if subscription.claim:
        rows.renew(row, subscription.claim)
        yield
        return
    finished = threading.Event()

    def renew() -> None:
        try:
            while not finished.wait(CLAIM / 3):
                _insist(lambda: rows.renew(row, CLAIM))
        except DatabaseError as error:
            logger.warning("The reservation of delivery %s cannot be renewed: %s", row.pk, error)
        finally:
            connections.close_all()  # those of this thread

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _write(row: Any, verdict: Verdict, using: str) -> None:
    """Écrit un échec, et le journal quoi que la base réponde."""
    drop_broken_connections()
    rows = Delivery.objects.using(using)
    error = _error_text(row, verdict)
    payload = readable(row)
    try:
        if verdict.delay is None:
            written = _insist(lambda: rows.abandon(row, attempts=verdict.attempts, error=error))
        else:
            later = partial(rows.postpone, row, delay=verdict.delay, attempts=verdict.attempts)
            written = _insist(lambda: later(error=error))
        if not written:
            logger.warning("Delivery %s was taken by another process meanwhile.", row.pk)
    finally:
        if verdict.delay is None:
            log_given_up(payload, row.handler, verdict.error)
        else:
            log_again(payload, row.handler, verdict.label, verdict.delay, verdict.error)


def _error_text(row: Delivery, verdict: Verdict) -> str:
    text = describe(verdict.error)
    if isinstance(verdict.error, TooManyAttemptsError):  # what really failed is the former one
        text = f"{row.error or 'its process was lost'}\n{text}"
    return f"{WAITING if verdict.waiting and verdict.delay else ''}{text}"[:ERROR_LENGTH]


def _give_back(row: Delivery, reason: NotStarted, using: str) -> None:
    """Rend un essai que la base n’a pas laissé commencer."""
    cause = reason.__cause__
    if cause is None:
        return  # another worker has it: the attempt is theirs
    drop_broken_connections()
    logger.warning(
        "Delivery %s (event %s, handler %s) could not start, its attempt is given back: %s",
        row.pk,
        identify(readable(row)),
        row.handler,
        describe(cause),
    )
    rows = Delivery.objects.using(using)
    _insist(lambda: rows.postpone(row, delay=1, attempts=row.attempts - 1, error=row.error))


def _insist(write: Callable[[], int]) -> int:
    """Répète une petite écriture que des verrous empêchent."""
    for _ in range(TRIES - 1):
        try:
            return write()
        except OperationalError as error:
            if not _is_about_locks(error):
                raise
    return write()


def _is_about_locks(error: DatabaseError) -> bool:
    """Un verrou pris, une impasse ou une sérialisation : ce qui passera si l’on recommence."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    number = error.args[0] if error.args else None
    return (
        state in ("40001", "40P01", "55P03")  # PostgreSQL
        or number in (1205, 1213)  # MariaDB
        or "database is locked" in str(error)  # SQLite
        or "table is locked" in str(error)
    )


def go_on_after(error: BaseException, pk: UUID | str, using: str) -> None:
    """Écrit au journal ce qu’aucun verdict ne dit ; la ligne suivante a une connexion neuve.

    Raises:
        BaseException: *error*, si la base ne répond plus.
    """
    # Its verdict is written, or the row is reserved until its claim ends.
    logger.error("Delivery %s: %s", pk, describe(error), exc_info=error)
    usable = is_usable(using)
    if not connections[using].in_atomic_block:
        connections[using].close()  # a handler may have left the session read only
    if not usable:
        raise error


def drop_broken_connections() -> None:
    """Lâche les connexions qu’une erreur a laissées inutilisables, sur toutes les bases."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred and not connection.in_atomic_block:
            if is_usable(connection.alias):
                connection.errors_occurred = False
            else:
                connection.close()


def is_usable(using: str) -> bool:
    """Dit si la connexion est ouverte et répond."""
    connection: Any = connections[using]
    return connection.connection is not None and connection.is_usable()
