"""Le broker de Celery : est-il là, et à qui la faute quand un envoi échoue."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from .breaker import CircuitBreaker
from .logs import describe, logger, text_of

try:
    import celery
    from celery.exceptions import QueueNotFound
    from kombu.exceptions import EncodeError, OperationalError
except ImportError:  # Celery is optional
    celery = None  # type: ignore[assignment]  # a module to mypy, whatever happens

# Called with each failure that the transport is about to retry.
OnRetry: TypeAlias = Callable[[Exception], None]

breaker = CircuitBreaker()

_DECISIVE = ("broker_url", "broker_write_url", "task_always_eager")
_answers: dict[tuple[object, ...], bool] = {}

# AMQP’s codes for what is wrong with one message: it is too large, or its queue is missing,
# locked, or declared with other arguments.
_ABOUT_ONE_MESSAGE = (311, 404, 405, 406)


class Outcome(enum.Enum):
    """Ce qu’un envoi est devenu."""

    SENT = "sent"
    REFUSED = "refused"
    """La faute est à ce message : le suivant peut partir."""
    BROKEN = "broken"
    """Le broker manque : le suivant échouerait aussi."""


def is_available() -> bool:
    """Dit si Celery est installé et configuré avec un broker ; ne l’interroge pas.

    Sous ``task_always_eager`` rien ne part : le repli fait de même, une seule fois.
    """
    conf = celery_conf()
    if conf is None:
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


def attempt(
    send: Callable[[OnRetry], object], about: str, queue: str | None = None
) -> tuple[Outcome, BaseException | None]:
    """Appelle *send* et dit ce qui est arrivé ; une panne du broker ouvre le disjoncteur."""
    failures: list[Exception] = []
    try:
        send(failures.append)
    except Exception as error:  # whatever the transport raises, the event must survive
        cause = _unwrapped(error)
        if _is_about_one_message(cause):
            _log_refused(about, queue, cause)
            return Outcome.REFUSED, cause
        breaker.trip()
        _log_broken(about, [*failures, error])
        return Outcome.BROKEN, error
    return Outcome.SENT, None


def _unwrapped(error: BaseException) -> BaseException:
    """Renvoie ce que ``kombu`` enveloppe : son enveloppe n’a parfois pas de texte."""
    return error.__cause__ or error if isinstance(error, OperationalError) else error


def _is_about_one_message(error: BaseException) -> bool:
    return (
        isinstance(error, QueueNotFound | EncodeError | UnicodeError)
        or getattr(error, "reply_code", None) in _ABOUT_ONE_MESSAGE
        or type(error).__name__ == "MessageNacked"  # a class of amqp, which may not be installed
    )


def _log_refused(about: str, queue: str | None, error: BaseException) -> None:
    where = f"queue {queue!r}" if queue else "the default queue"
    logger.error(
        "The broker refused %s for %s: %s. Correct the queue or the message; "
        "the others leave meanwhile.",
        about,
        where,
        describe(error).rstrip(".: "),
    )


def _log_broken(about: str, failures: list[Exception]) -> None:
    doubt = (
        "No connection was made, so nothing was sent."
        if all(any(map(_never_left, _causes(failure))) for failure in failures)
        else "The message may have arrived all the same, so a handler may run twice."
    )
    logger.warning(
        "The broker failed on %s: %s. %s Events take the other path until it is tried again.",
        about,
        text_of(failures[-1]).rstrip("."),
        doubt,
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
