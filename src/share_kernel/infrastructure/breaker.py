"""Le disjoncteur : après un échec du broker, ne plus l’essayer pendant un moment."""

from __future__ import annotations

import time

from . import settings


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
