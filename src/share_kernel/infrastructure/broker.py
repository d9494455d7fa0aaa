"""Le broker de Celery : est-il là, et que faire quand il échoue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .breaker import CircuitBreaker
from .logs import logger

try:
    import celery
except ImportError:  # Celery is optional
    celery = None  # type: ignore[assignment]  # a module to mypy, whatever happens

# Called with each failure that the transport is about to retry.
OnRetry: TypeAlias = Callable[[Exception], None]

breaker = CircuitBreaker()

_DECISIVE = ("broker_url", "broker_write_url", "task_always_eager")
_answers: dict[tuple[object, ...], bool] = {}


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


def attempt(send: Callable[[OnRetry], object], about: str) -> bool:
    """Appelle *send* ; en cas d’échec, ouvre le disjoncteur, prévient et renvoie ``False``."""
    failures: list[Exception] = []
    try:
        send(failures.append)
    except Exception as error:  # whatever the transport raises, the event must survive
        breaker.trip()
        failures.append(error)
        doubt = (
            "No connection was made, so nothing was sent."
            if all(map(_never_left, failures))
            else "The message may have arrived all the same, so a handler may run twice."
        )
        logger.warning(
            "The broker failed on %s: %s. %s Events take the other path until it is tried again.",
            about,
            str(error).rstrip("."),
            doubt,
        )
        return False
    return True


def _never_left(error: BaseException | None) -> bool:
    """Connexion refusée, ou transport dont il manque une bibliothèque."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | ImportError):
            return True
        error = error.__cause__ or error.__context__
    return False
