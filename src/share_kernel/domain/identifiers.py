"""Des identifiants qui se suivent dans le temps : les index d’une base les rangent côte à côte."""

from __future__ import annotations

from os import urandom
from time import time_ns
from uuid import UUID, SafeUUID

_new, _set = object.__new__, object.__setattr__


def uuid7() -> UUID:
    """Renvoie un UUID de version 7 (RFC 9562) : l’heure à un quart de microseconde, puis le hasard.

    Dans une base, des clés tirées au hasard salissent une page chacune.
    """
    milliseconds, rest = divmod(time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    chance = int.from_bytes(urandom(8)) >> 2
    new = _new(UUID)  # not UUID(int=…), which checks its arguments for as long as the rest takes
    _set(new, "int", milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | chance)
    _set(new, "is_safe", SafeUUID.unknown)
    return new
