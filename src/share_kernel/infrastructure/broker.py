"""Le broker de Celery : est-il là, faut-il l’essayer, et à qui la faute quand un envoi échoue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from . import settings
from .logs import describe, logger, text_of

try:
    import celery
    from celery.exceptions import QueueNotFound
    from kombu.exceptions import EncodeError, OperationalError
except ImportError:  # Celery is optional
    celery = None  # type: ignore[assignment]  # a module to mypy, whatever happens

VERSION: tuple[int, ...] = celery.version_info[:2] if celery else ()
asked_by_a_test = False  # set by isolated_bus(celery=True): without it, a test has no broker


class CircuitBreaker:
    """Retient, par processus, le dernier échec du broker."""

    def __init__(self) -> None:
        self.tripped_at = float("-inf")

    def trip(self) -> None:
        """Note un échec du broker."""
        self.tripped_at = time.monotonic()

    def is_open(self, planned_at: float) -> bool:
        """Dit s’il faut éviter le broker pour un travail prévu à *planned_at*.

        Un travail prévu avant l’échec appartient au même commit, ou à un commit simultané :
        il n’essaie pas à son tour, même si les replis ont duré plus que ``BREAKER_SECONDS``.
        """
        if planned_at <= self.tripped_at:
            return True
        return time.monotonic() < self.tripped_at + float(settings.get("BREAKER_SECONDS"))


breaker = CircuitBreaker()

_DECISIVE = ("broker_url", "broker_write_url", "task_always_eager")
_answers: dict[tuple[object, ...], bool] = {}

# AMQP’s codes for what is wrong with one message: it is too large, or its queue is missing,
# locked, or declared with other arguments.
_ABOUT_ONE_MESSAGE = (311, 404, 405, 406)


def is_available() -> bool:
    """Dit si Celery est installé et configuré avec un broker ; ne l’interroge pas.

    Dans un test il n’y a pas de broker, sauf celui que le test demande.
    Sous ``task_always_eager`` rien ne part : le repli fait de même, une seule fois.
    """
    conf = celery_conf()
    if conf is None or (settings.under_test() and not asked_by_a_test):
        return False
    # Reading Celery’s settings costs a tenth of sending a task. Code changes them through
    # conf.changes: the answer is kept until one of these values does.
    state = (id(conf), *(str(conf.changes.get(key)) for key in _DECISIVE))
    if state not in _answers:
        _answers[state] = bool(broker_url(conf)) and not conf.task_always_eager
    return _answers[state]


def celery_conf() -> Any:
    """Renvoie la configuration de l’application Celery courante, ou ``None`` sans Celery."""
    return celery.current_app.conf if celery else None


def broker_url(conf: Any) -> Any:
    """Renvoie l’adresse du broker où publier : un texte, une liste, ou rien."""
    return conf.broker_write_url or conf.broker_url


def blame(failures: list[Exception], about: str, queue: str | None) -> BaseException | None:
    """Écrit pourquoi un envoi a échoué ; renvoie ce qui tient à ce message, ou ``None``.

    ``None`` est une panne du broker : le message suivant échouerait aussi, le disjoncteur s’ouvre.
    """
    # What kombu wraps: its envelope has no text, at times.
    inside = (error for error in _causes(failures[-1]) if not isinstance(error, OperationalError))
    cause = next(inside, failures[-1])
    if _is_about_one_message(cause):
        where = f"queue {queue!r}" if queue else "the default queue"
        why = describe(cause).rstrip(".: ")
        logger.error(
            "The broker refused %s for %s: %s. Correct the queue or the message.", about, where, why
        )
        return cause
    breaker.trip()
    doubt = "The message may have arrived all the same, so a handler may run twice."
    if all(any(map(_never_left, _causes(failure))) for failure in failures):
        doubt = "No connection was made, so nothing was sent."
    logger.warning(
        "The broker failed on %s: %s. %s Events take the other path until it is tried again.",
        about,
        text_of(failures[-1]).rstrip("."),
        doubt,
    )
    return None


def _is_about_one_message(error: BaseException) -> bool:
    return (
        isinstance(error, QueueNotFound | EncodeError | UnicodeError)
        or getattr(error, "reply_code", None) in _ABOUT_ONE_MESSAGE
        or type(error).__name__ == "MessageNacked"  # a class of amqp, which may not be installed
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # « raise error from error » makes a loop
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _never_left(error: BaseException) -> bool:
    """Connexion refusée, ou transport dont il manque une bibliothèque."""
    return isinstance(error, ConnectionRefusedError | ImportError)
