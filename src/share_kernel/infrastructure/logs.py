"""Ce que le bus écrit au journal, sous le nom ``share_kernel``."""

from __future__ import annotations

import json
import logging

from ..domain.causation import current_cause
from . import settings

logger = logging.getLogger("share_kernel")

ERROR_LENGTH = 2000  # characters of an error that a line or a row keeps
_IDS = ("event_id", "correlation_id")


class EventContextFilter(logging.Filter):
    """Ajoute ``event_id`` et ``correlation_id`` à chaque ligne de journal.

    Une ligne du bus qui parle d’un événement porte les siens. Hors du traitement d’un
    événement, les deux valent ``"-"``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complète la ligne et la laisse passer."""
        cause = current_cause.get()
        for name in _IDS:
            if not hasattr(record, name):
                setattr(record, name, str(getattr(cause[0], name)) if cause else "-")
        return True


def log_again(
    payload: object, handler: object, label: str, delay: float, error: BaseException | None
) -> None:
    """Écrit qu’un handler sera réessayé : quand, et pourquoi."""
    values = (handler, identify(payload), label, delay, text_of(error))
    logger.warning(
        "Handler %s failed on event %s (%s), retry in %.1f s: %s",
        *values,
        exc_info=error,
        extra=ids(payload),
    )


def log_given_up(payload: object, handler: object, error: BaseException | None) -> None:
    """Écrit qu’un handler n’aura pas lieu : la dernière trace de l’événement pour lui."""
    content = f"\nEvent: {_as_json(payload)}" if settings.get("LOG_PAYLOAD") else ""
    values = (handler, identify(payload), type(error).__name__, text_of(error), content)
    logger.error(
        "Gave up on handler %s for event %s after %s: %s%s",
        *values,
        exc_info=error,
        extra=ids(payload),
    )


def describe(error: object) -> str:
    """Renvoie la classe et le texte d’une erreur, quoi que ce texte fasse."""
    return f"{type(error).__name__}: {text_of(error)}"[:ERROR_LENGTH]


def text_of(error: object) -> str:
    """Renvoie le texte d’une erreur, tel qu’une base et un journal l’acceptent."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as second:  # its own text is what its author tested least
        text = f"(its text cannot be made: {type(second).__name__})"
    # NUL is refused by PostgreSQL’s text, and a lone surrogate by its encoding.
    text = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return text[:ERROR_LENGTH]


def ids(payload: object) -> dict[str, str]:
    """Renvoie ce qui relie à son événement une ligne écrite hors de son traitement."""
    known = payload if isinstance(payload, dict) else {}
    return {name: str(known.get(name, "-")) for name in _IDS}


def identify(payload: object) -> str:
    """Renvoie le type et l’identifiant d’un événement, sans rien de son contenu."""
    if not isinstance(payload, dict):
        return f"(a {type(payload).__name__} instead of a payload)"
    return f"{payload.get('event_type', '?')} {payload.get('event_id', '(no event_id)')}"


def _as_json(payload: object) -> str:
    try:
        return json.dumps(payload, default=repr)
    except (ValueError, TypeError, RecursionError):
        return repr(payload)
