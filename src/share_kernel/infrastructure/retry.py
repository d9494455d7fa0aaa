"""Quand réessayer un handler asynchrone, et quand renoncer."""

from __future__ import annotations

import random

from ..domain.domain_event import PermanentFailure, RetryAfter

BACKOFF_BASE = 2.0  # seconds; the n-th retry waits at most BACKOFF_BASE * 2 ** (n - 1)
BACKOFF_MAX = 15 * 60.0  # seconds

# Deploy skew: a worker that runs older code. It is over when the deployment is.
SKEW_DELAY = 10 * 60.0  # seconds
SKEW_ATTEMPTS = 144  # so, about a day


def delay_after(error: Exception, attempt: int, max_attempts: int) -> float | None:
    """Renvoie le délai en secondes avant un nouvel essai, ou ``None`` pour renoncer.

    Args:
        error: ce que le handler a levé.
        attempt: combien d’essais ont eu lieu, celui-ci compris.
        max_attempts: combien sont permis.
    """
    if isinstance(error, PermanentFailure) or attempt >= max_attempts:
        return None
    if isinstance(error, RetryAfter):
        return error.seconds
    # Full jitter: a herd of failures does not come back as a herd.
    return random.uniform(0, min(BACKOFF_MAX, BACKOFF_BASE * 2 ** (attempt - 1)))


def delay_after_skew(attempt: int) -> float | None:
    """Renvoie le délai en secondes avant de rechercher à nouveau le handler, ou ``None``."""
    return SKEW_DELAY * random.uniform(0.8, 1.2) if attempt < SKEW_ATTEMPTS else None
