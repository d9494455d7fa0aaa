"""Ce que le bus écrit au journal, sous le nom ``share_kernel``."""

from __future__ import annotations

import json
import logging

from ..domain.causation import current_cause
from . import settings

logger = logging.getLogger("share_kernel")


class EventContextFilter(logging.Filter):
    """Ajoute ``event_id`` et ``correlation_id`` à chaque ligne de journal.

    Hors du traitement d’un événement, les deux valent ``"-"``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complète la ligne et la laisse passer."""
        cause = current_cause.get()
        record.event_id = str(cause[0].event_id) if cause else "-"
        record.correlation_id = str(cause[0].correlation_id) if cause else "-"
        return True


def log_given_up(payload: object, handler: object, error: BaseException) -> None:
    """Écrit qu’un handler n’aura pas lieu : la dernière trace de l’événement pour lui."""
    logger.error(
        "Gave up on handler %s for event %s after %s: %s%s",
        handler,
        identify(payload),
        type(error).__name__,
        error,
        f"\nEvent: {_as_json(payload)}" if settings.get("LOG_PAYLOAD") else "",
        exc_info=error,
    )


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
