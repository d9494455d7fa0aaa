"""Le dictionnaire ``EVENT_BUS`` des réglages Django, avec ses valeurs par défaut."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

DEFAULTS: Final[dict[str, Any]] = {
    "TENANT_CONTEXT": None,
    "MAX_DEPTH": 32,
    "MAX_ATTEMPTS": 8,
    "BREAKER_SECONDS": 5,
    "LOG_PAYLOAD": True,
}


def get(key: str) -> Any:
    """Renvoie la valeur de ``EVENT_BUS[key]``, ou sa valeur par défaut."""
    return getattr(settings, "EVENT_BUS", {}).get(key, DEFAULTS[key])
