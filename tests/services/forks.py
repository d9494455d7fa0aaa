"""Des processus nés de celui-ci : ils ont ses abonnements, et leurs propres connexions."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO

from django.core.management import call_command
from django.db import connections

from .registers import Register


@dataclass
class Fork:
    """Un processus, que l’on peut tuer."""

    number: int

    def kill(self) -> None:
        os.kill(self.number, signal.SIGKILL)

    def terminate(self) -> None:
        os.kill(self.number, signal.SIGTERM)

    def end(self) -> int:
        """Attend sa fin ; renvoie son code, ou l’opposé du signal qui l’a tué."""
        _, status = os.waitpid(self.number, 0)
        return os.waitstatus_to_exitcode(status)


def fork(register: Register, work: Callable[[], object]) -> Fork:
    """Exécute *work* dans un processus à lui."""
    connections[register.using].close()  # two processes on one would mix their requests
    with warnings.catch_warnings():  # no thread of this process is in the middle of anything
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number:
        return Fork(number)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def relay_in(register: Register, *, once: bool = False) -> Fork:
    """Démarre ``relay_events --execute``."""
    options = {"execute": True, "once": once, "database": register.using}
    return fork(register, lambda: call_command("relay_events", stdout=StringIO(), **options))


@contextlib.contextmanager
def relays(register: Register, count: int) -> Iterator[list[Fork]]:
    """Fait tourner autant de relais ; chacun doit bien finir."""
    started = [relay_in(register) for _ in range(count)]
    try:
        yield started
    finally:
        for relay in started:
            relay.terminate()
        codes = [relay.end() for relay in started]
    assert codes == [0] * count
