"""Un essai d’un handler asynchrone : trouver, exécuter, juger. Le même sur tous les chemins."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connections, transaction
from django.utils.module_loading import import_string

from ..domain import errors
from ..domain.causation import current_cause
from ..domain.domain_event import DomainEvent, UnfinishedHandlerError
from ..domain.event_types import is_wire_name
from . import settings
from .callbacks import is_stop, robust_callbacks
from .logs import identify
from .registry import registry
from .subscriptions import LONGEST, Subscription, is_handler_name, label_of
from .transactions import IN_ERROR, NEST, balanced, postgresql_status

BACKOFF_BASE = 2.0  # seconds; the n-th retry waits at most BACKOFF_BASE * 2 ** (n - 1)
BACKOFF_MAX = 15 * 60.0  # seconds

# Deploy skew: a worker that runs older code. It is over when the deployment is.
SKEW_DELAY = 10 * 60.0  # seconds
SKEW_ATTEMPTS = 144  # so, about a day

# What surrounds a handler, entered when it is known and just before it runs.
Within: TypeAlias = Callable[[Subscription], AbstractContextManager[object]]


class NotStarted(Exception):
    """Le handler n’a pas commencé : il n’y a pas d’essai à juger."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ce qu’un essai a donné : fait, à refaire, ou abandonné."""

    error: BaseException | None = None
    """``None`` si le handler a réussi."""
    delay: float | None = None
    """Secondes avant l’essai suivant ; ``None`` pour renoncer."""
    attempts: int = 0
    """Combien d’essais sont consommés."""
    waits: int = 0
    """Combien de fois ce code n’a pas su quoi exécuter."""
    label: str = ""
    stop: BaseException | None = None
    """Une demande d’arrêt, à relayer une fois le verdict écrit."""
    waiting: bool = False
    """Rien n’a été essayé, faute du code qu’il faut."""


def attempt(
    payload: Any,
    handler: Any,
    depth: Any,
    using: Any,
    *,
    attempts: int = 1,
    waits: int = 0,
    within: Within | None = None,
) -> Verdict:
    """Essaie une fois un handler, et juge : la seule fonction qui le fasse.

    Ce qu’il lève ne remonte pas, sauf ``KeyboardInterrupt`` et :class:`NotStarted`.

    Args:
        payload: ce que :meth:`.DomainEvent.to_dict` a produit.
        handler: le nom du handler, ou son abonnement s’il est déjà trouvé.
        depth: le rang de l’événement dans la chaîne qui l’a causé.
        using: l’alias de la base de données de celui qui publie.
        attempts: combien d’essais sont comptés, celui-ci compris.
        waits: combien de fois le code a déjà manqué.
        within: ce qui entoure le handler, à la place d’une transaction à lui.
    """
    try:
        event, subscription = _look_up(payload, handler, depth, using)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever its class raises when it is rebuilt
        return _after_look_up(error, attempts, waits)
    limit: int = subscription.max_attempts or settings.get("MAX_ATTEMPTS")
    if attempts > limit:
        text = f"attempt {attempts} is more than the {limit} allowed"
        return Verdict(TooManyAttemptsError(text), None, attempts - 1, waits)
    try:
        stop = _run(subscription, event, depth, within or partial(_transaction, using), using)
    except (NotStarted, KeyboardInterrupt):
        raise
    except BaseException as error:
        return _after_failure(error, attempts, limit, waits)
    return Verdict(attempts=attempts, waits=waits, stop=stop)


class TooManyAttemptsError(errors.DomainEventError):
    """Plus d’essais que permis ont commencé : le processus est mort, ou la limite a baissé."""


class MisaddressedError(errors.PayloadError):
    """Aucun code, même plus récent, ne saurait quoi faire de ce message."""


def _look_up(
    payload: Any, handler: Any, depth: Any, using: Any
) -> tuple[DomainEvent, Subscription]:
    """Rien n’est importé d’après un message : tout est cherché parmi ce que ce code connaît."""
    if isinstance(handler, Subscription):
        return DomainEvent.from_dict(payload), handler
    _check_address(payload, handler, depth, using)
    event = DomainEvent.from_dict(payload)
    return event, registry.by_name(event.event_type, handler)


def _check_address(payload: Any, handler: Any, depth: Any, using: Any) -> None:
    known = payload if isinstance(payload, dict) else {}
    kind, event_id = known.get("event_type"), known.get("event_id")
    version = known.get("event_version", 1)
    parts = (
        ("event_type", kind, is_wire_name(kind), "the name of an event"),
        ("event_id", event_id, _is_uuid(event_id), "a UUID"),
        ("event_version", version, _is_whole(version, 1), "a whole number from 1"),
        ("handler", handler, is_handler_name(handler), "the name of a handler"),
        ("depth", depth, _is_whole(depth, 0), "a whole number from 0"),
        ("using", using, using in connections, "a database of this project"),
    )
    for part, value, is_valid, what in parts:
        if not is_valid:
            raise MisaddressedError(f"{identify(payload)}: {part} is {value!r:.100}, not {what}")


def _is_whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _run(
    subscription: Subscription, event: DomainEvent, depth: int, within: Within, using: str
) -> BaseException | None:
    """Exécute le handler dans sa transaction, et ne le croit que si rien ne le dément.

    Returns:
        Une demande d’arrêt de ses rappels, à relayer une fois le verdict écrit.
    """
    label = label_of(subscription.name, event)
    around = partial(_around, event, depth)
    failure = None
    with robust_callbacks(subscription.name, event, around) as stops, within(subscription):
        with around():
            try:
                with balanced(label):
                    subscription.call(event)
                _check_transaction(subscription, connections[using], label)
            except BaseException as error:
                failure = error
                raise
        if failure:
            raise failure  # the context of the tenant has swallowed it
    return stops[-1] if stops else None


@contextmanager
def _transaction(using: str, subscription: Subscription) -> Iterator[None]:
    if not subscription.atomic:
        yield
        return
    with transaction.atomic(using=using), kept(using):
        yield


def kept(using: str) -> AbstractContextManager[object]:
    """Un point de sauvegarde : le libérer échoue si le bloc a perdu la transaction."""
    return transaction.atomic(using=using)


def _check_transaction(subscription: Subscription, connection: Any, label: str) -> None:
    if subscription.atomic and connection.needs_rollback:
        raise UnfinishedHandlerError(
            f"{label} caught a database error: its transaction is marked for rollback. {NEST}"
        )
    if postgresql_status(connection) == IN_ERROR:  # unseen by Django if the SQL was raw
        raise UnfinishedHandlerError(
            f"{label} caught an error of its own SQL: PostgreSQL has failed its transaction. {NEST}"
        )


@contextmanager
def _around(event: DomainEvent, depth: int) -> Iterator[None]:
    """Entoure un handler, ou un de ses rappels après le commit."""
    token = current_cause.set((event, depth, None))
    path, tenant_id = settings.get("TENANT_CONTEXT"), event.tenant_id
    try:
        with nullcontext() if path is None or tenant_id is None else import_string(path)(tenant_id):
            yield
    finally:
        current_cause.reset(token)


def _after_failure(error: BaseException, attempts: int, limit: int, waits: int) -> Verdict:
    stop = error if is_stop(error) else None
    delay = delay_after(error, attempts, limit)
    return Verdict(error, delay, attempts, waits, f"attempt {attempts} of {limit}", stop)


def _after_look_up(error: BaseException, attempts: int, waits: int) -> Verdict:
    if isinstance(error, MisaddressedError):
        return Verdict(error, None, attempts, waits)
    waits += 1  # nothing was tried: the attempt is given back
    stop = error if is_stop(error) else None
    label = f"look-up {waits} of {SKEW_ATTEMPTS}, is a deployment going on?"
    return Verdict(error, delay_after_skew(waits), attempts - 1, waits, label, stop, waiting=True)


def delay_after(error: BaseException, attempt: int, max_attempts: int) -> float | None:
    """Renvoie le délai en secondes avant un nouvel essai, ou ``None`` pour renoncer.

    Args:
        error: ce que le handler a levé.
        attempt: combien d’essais ont eu lieu, celui-ci compris.
        max_attempts: combien sont permis.
    """
    if isinstance(error, errors.PermanentFailure) or attempt >= max_attempts:
        return None
    if isinstance(error, errors.RetryAfter):
        with suppress(Exception):  # a subclass sets what it likes: the text of a header, NaN
            return min(max(0.0, float(error.seconds)), LONGEST)
    # Full jitter: a herd of failures does not come back as a herd.
    return random.uniform(0, min(BACKOFF_MAX, BACKOFF_BASE * 2 ** min(attempt - 1, 30)))


def delay_after_skew(waits: int) -> float | None:
    """Renvoie le délai en secondes avant de rechercher à nouveau le handler, ou ``None``."""
    return SKEW_DELAY * random.uniform(0.8, 1.2) if waits < SKEW_ATTEMPTS else None
