"""Attendre tant que quelque chose avance : une machine lente n’est pas une panne."""

from __future__ import annotations

import time
from collections.abc import Callable


class Patience:
    """Une limite au temps passé sans progrès ; chaque progrès la réarme.

    Args:
        seconds: combien de temps rien ne peut avancer.
        clock: l’heure, en secondes.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._furthest = -1
        self._since = clock()

    def is_over(self, progress: int) -> bool:
        """Dit si rien n’a avancé depuis trop longtemps.

        Args:
            progress: un compte de ce qui est fait ; seul un nouveau maximum est un progrès :
                ce qui va et vient n’avance pas, et ne doit pas faire attendre sans fin.
        """
        if progress > self._furthest:
            self._furthest, self._since = progress, self._clock()
        return self._clock() - self._since > self._seconds
