"""Le dictionnaire ``EVENT_BUS`` des réglages Django, avec ses valeurs par défaut."""

from __future__ import annotations

import sys
from typing import Any, Final

from django.conf import settings

DEFAULTS: Final[dict[str, Any]] = {
    "TENANT_CONTEXT": None,
    "MAX_DEPTH": 32,
    "MAX_ATTEMPTS": 8,
    "BREAKER_SECONDS": 5,
    "LOG_PAYLOAD": True,
    "CHECK_PAYLOADS": None,
    "KEEP_DONE": 30,
}


def get(key: str) -> Any:
    """Renvoie la valeur de ``EVENT_BUS[key]``, ou sa valeur par défaut."""
    return getattr(settings, "EVENT_BUS", {}).get(key, DEFAULTS[key])


def checks_payloads() -> bool:
    """Dit si un événement sans handler asynchrone doit pouvoir voyager quand même."""
    value = get("CHECK_PAYLOADS")
    return bool(settings.DEBUG or under_test() if value is None else value)


def under_test() -> bool:
    """Dit si l’environnement de test de Django est en place, sans importer ``django.test``."""
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")  # what setup_test_environment() leaves there
