"""Livrer une ligne : la réserver, exécuter son handler, et écrire le verdict."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, connections, transaction

from ...domain.domain_event import UnfinishedHandlerError, UnknownHandlerError
from ..callbacks import is_stop
from ..handling import SKEW_DELAY, NotStarted, TooManyAttemptsError, Verdict, Within, attempt, kept
from ..logs import ERROR_LENGTH, describe, identify, log_again, log_given_up, logger
from ..registry import registry
from ..subscriptions import Subscription
from .models import CLAIM, WAITING, Delivery

BATCH = 100  # rows that are reserved at once
TRIES = 3  # of a small write; each waits for the database’s own timeout


def deliver_due(
    using: str,
    ids: Sequence[UUID] | None = None,
    *,
    stop: Callable[[], bool] = bool,
    goes_on: bool = False,
) -> int:
    """Réserve des lignes dues et les livre une à une ; renvoie combien d’essais.

    Args:
        using: l’alias de la base de données.
        ids: celles que l’on désigne, puis celles que leur fin libère ; sinon les plus anciennes.
        stop: interrogé entre deux livraisons ; ``True`` rend ce qui reste.
        goes_on: poursuivre après la demande d’arrêt d’un handler, dans un processus à soi.
    """
    end, began, count = time.monotonic() + CLAIM / 2, None, 0
    while (ids is None or ids) and time.monotonic() < end and not stop():
        try:
            rows = Delivery.objects.using(using).reserve(BATCH, ids, before=began)
        except OperationalError as error:
            if not _is_about_locks(error):
                raise
            logger.info("The register is busy, it will be tried again: %s", error)
            break
        if not rows:
            break
        began = began or rows[0].now  # what fails at once is for the next turn
        batch = _Batch(rows, using, stop, goes_on=goes_on)
        count += batch.deliver()
        ids = ids and batch.handed
    return count


class _Batch:
    """Des lignes réservées, livrées une à une, chacune dans sa transaction.

    Réserver n’est pas essayer : la transaction qui termine une ligne compte l’essai de la suivante.
    Il y a un commit par livraison, et un processus tué n’use que l’essai de la ligne en cours.
    """

    def __init__(
        self,
        rows: list[Delivery],
        using: str,
        stop: Callable[[], bool],
        *,
        goes_on: bool,
    ) -> None:
        self.using, self.stop, self.goes_on = using, stop, goes_on
        self.end = time.monotonic() + CLAIM / 2  # past it, a rival may soon hold the others
        self.objects = Delivery.objects.using(using)
        self.queue = deque(rows)
        self.left: list[Delivery] = []  # to give back: what its key or a rival holds back
        self.untried: list[Delivery] = []  # likewise, and an attempt of theirs is counted
        self.counted: Delivery | None = self.queue.popleft()  # its attempt is, it has not begun
        self.handed: list[UUID] = []

    def deliver(self) -> int:
        """Livre ce que le temps de la réservation permet ; renvoie combien d’essais."""
        count = 0
        try:
            while row := self._next():
                try:
                    count += self._deliver(row)
                except BaseException as error:
                    stops = is_stop(error)
                    if not isinstance(error, Exception) and not (stops and self.goes_on):
                        raise
                    go_on_after(error, row.pk, self.using)
                    count += stops  # else no verdict is written: nothing to hurry for
        finally:
            self._give_back_rest()
        return count

    def _next(self) -> Delivery | None:
        row, self.counted = self.counted or self._count_following(), None
        return row

    def _count_following(self) -> Delivery | None:
        while self.queue and not self.stop() and time.monotonic() < self.end:
            row = self.queue.popleft()
            if self.objects.start(row):
                return row
            self._leave_line(row)
            self.left.append(row)
        return None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Une transaction, qui compte aussi l’essai de la ligne suivante."""
        following = None
        try:
            with transaction.atomic(using=self.using):
                yield
                following = self._count_following()
        except BaseException:
            if following:
                following.attempts -= 1
                self.queue.appendleft(following)
            raise
        self.counted = following

    @contextmanager
    def _reserved(self, row: Delivery, subscription: Subscription) -> Iterator[None]:
        """Entoure le handler : la ligne est à lui, et terminée avec ce qu’il écrit."""
        if not subscription.atomic:
            self._give_back_rest()  # it may outlive their reservation
            with _renewed(row, self.using, subscription):
                yield
            _settle(row, self.using)
            return
        started = False
        try:
            with self._transaction():
                if not self.objects.lock(row):
                    raise NotStarted
                started = True
                # PostgreSQL tells if the lock is still of this transaction, and saves a round trip.
                with nullcontext() if self.objects.knows_its_locks() else kept(self.using):
                    yield
                _settle(row, self.using, locked=True)
        except DatabaseError as error:
            if started:
                raise
            raise NotStarted from error

    def _deliver(self, row: Delivery) -> bool:
        """Livre une ligne ; dit si un essai a eu lieu."""
        try:
            verdict = _attempt(row, self.using, partial(self._reserved, row))
        except NotStarted as error:
            self._leave_line(row)
            if error.__cause__:
                _give_back(row, error.__cause__, self.using)
            else:
                self.untried.append(row)
            return False
        holds = verdict.error is not None and (verdict.delay is not None or _holds_dead(row))
        if holds:
            self._leave_line(row)
        if verdict.error:
            self._write(row, verdict, holds=holds)
        if row.key is not None and not holds and not self._line_of(row):
            self.handed += self.objects.hand_over(row.handler, row.key)
        if verdict.stop:
            raise verdict.stop
        return True

    def _write(self, row: Delivery, verdict: Verdict, *, holds: bool) -> None:
        """Écrit un échec, et le journal quoi que la base réponde."""
        drop_broken_connections()
        error, payload = _error_text(row, verdict), readable(row)
        if verdict.delay is None:
            change = partial(self.objects.abandon, row, error=error, holds=holds)
        else:
            change = partial(self.objects.postpone, row, error=error, delay=verdict.delay)

        def write() -> int:
            with self._transaction():
                return change(attempts=verdict.attempts)

        try:
            if not _insist(write, self.using):
                logger.warning("Delivery %s was taken by another process meanwhile.", row.pk)
        finally:
            if verdict.delay is None:
                log_given_up(payload, row.handler, verdict.error)
            else:
                log_again(payload, row.handler, verdict.label, verdict.delay, verdict.error)

    def _line_of(self, row: Delivery) -> list[Delivery]:
        """Renvoie ce qui reste à livrer sous la clé de la ligne."""
        if row.key is None:
            return []
        rows = [self.counted, *self.queue] if self.counted else self.queue
        return [other for other in rows if (other.handler, other.key) == (row.handler, row.key)]

    def _leave_line(self, row: Delivery) -> None:
        """Ce qui suit sous la même clé attendra : la ligne n’est pas finie."""
        held = self._line_of(row)
        self.left += held
        self.queue = deque(other for other in self.queue if other not in held)

    def _give_back_rest(self) -> None:
        """Rend ce qui n’a pas commencé ; au pire, la réservation s’éteindra seule."""
        rows, untried = [*self.left, *self.queue], self.untried
        if self.counted:
            untried.append(self.counted)
        self.left, self.untried, self.counted = [], [], None
        self.queue.clear()
        if not rows and not untried:
            return
        try:
            self.objects.release(rows, untried=untried)
        except DatabaseError as error:
            count = len(rows) + len(untried)
            logger.warning("%d reserved deliveries are not given back: %s", count, error)


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


def _attempt(row: Any, using: str, within: Within) -> Verdict:
    return attempt(
        readable(row),
        row.handler,
        row.depth,
        using,
        attempts=row.attempts,
        # A row that was not waiting yet is not given up at its first look-up, whatever its age.
        waits=int(row.waited.total_seconds() / SKEW_DELAY) if row.error.startswith(WAITING) else 0,
        within=within,
    )


def _holds_dead(row: Delivery) -> bool:
    """Dit si la ligne, abandonnée, retiendra celles de sa clé."""
    if row.key is None:
        return False
    try:
        return registry.by_name(row.event_type, row.handler).on_dead == "hold"
    except UnknownHandlerError:
        return False


@contextmanager
def _settled(row: Delivery, using: str, _: Subscription) -> Iterator[None]:
    with transaction.atomic(using=using):
        with kept(using):
            yield
        _settle(row, using)


def _settle(row: Delivery, using: str, *, locked: bool = False) -> None:
    if not Delivery.objects.using(using).settle(row, locked=locked):
        raise UnfinishedHandlerError(
            f"Handler {row.handler} of {row.event_type} {row.event_id} returned, but its delivery "
            "is no longer reserved for it: another process took it, somebody deleted it, or the "
            "handler has ended the transaction that it was given."
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
                _insist(lambda: rows.renew(row, CLAIM), using)
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


def _error_text(row: Delivery, verdict: Verdict) -> str:
    text = describe(verdict.error)
    if isinstance(verdict.error, TooManyAttemptsError):  # what really failed is the former one
        text = f"{row.error or 'its process was lost'}\n{text}"
    return f"{WAITING if verdict.waiting and verdict.delay else ''}{text}"[:ERROR_LENGTH]


def _give_back(row: Delivery, cause: BaseException, using: str) -> None:
    """Rend un essai que la base n’a pas laissé commencer."""
    drop_broken_connections()
    logger.warning(
        "Delivery %s (event %s, handler %s) could not start, its attempt is given back: %s",
        row.pk,
        identify(readable(row)),
        row.handler,
        describe(cause),
    )
    rows = Delivery.objects.using(using)
    give_back = partial(rows.postpone, row, delay=1, attempts=row.attempts - 1, error=row.error)
    _insist(give_back, using)


def _insist(write: Callable[[], int], using: str) -> int:
    """Répète une petite écriture que des verrous, ou l’état de la session, empêchent."""
    for _ in range(TRIES - 1):
        try:
            return write()
        except DatabaseError as error:
            if not _is_about_locks(error) and not connections[using].in_atomic_block:
                connections[using].close()  # a handler may have left the session read only
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
