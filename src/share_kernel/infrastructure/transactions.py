"""Les transactions qu’un handler ouvre : il les ferme, ou elles sont annulées."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from django.db import connections

from ..domain.domain_event import UnfinishedHandlerError

# What PostgreSQL says of a transaction, the same with psycopg 2 and 3: PQTRANS_INTRANS, _INERROR.
IN_TRANSACTION, IN_ERROR = 2, 3

NEST = "Put what may fail in a nested transaction.atomic(), and catch round it."

# A connection, how many blocks are open on it, and whether it commits by itself outside them.
State: TypeAlias = tuple[Any, int, bool]


@contextmanager
def balanced(label: str) -> Iterator[None]:
    """Annule ce que le bloc laisse ouvert, sur toutes les bases.

    Sinon la connexion resterait dans cette transaction, et plus rien n’y serait validé.

    Raises:
        UnfinishedHandlerError: il a laissé une transaction ouverte, sans rien lever.
    """
    every: Any = connections.all()
    states = [(item, len(item.atomic_blocks), True) for item in every]
    try:
        yield
    finally:
        left = [before[0].alias for before in states if roll_back_to(before)]
    if left:
        raise left_open(label, ", ".join(left))


def left_open(label: str, aliases: str) -> UnfinishedHandlerError:
    """Renvoie l’erreur d’un handler qui a laissé une transaction ouverte."""
    return UnfinishedHandlerError(
        f"{label} returned and left a transaction open on {aliases}: it is rolled back. "
        "Use « with transaction.atomic() », and put back the autocommit you turn off."
    )


def roll_back_to(before: State) -> bool:
    """Annule ce qui est ouvert de plus qu’avant ; dit s’il y en avait."""
    connection, depth, automatic = before
    left = connection.atomic_blocks[depth:]
    for block in reversed(left):
        block.__exit__(UnfinishedHandlerError, UnfinishedHandlerError(), None)
    manual = automatic and _is_manual(connection)
    if manual:
        connection.rollback()
        connection.set_autocommit(True)
    return bool(left) or manual


def _is_manual(connection: Any) -> bool:
    """Dit si le code a pris en main les transactions d’une connexion, et l’a laissée ainsi."""
    driver = connection.connection
    if driver is None or connection.in_atomic_block or not connection.settings_dict["AUTOCOMMIT"]:
        return False
    # A BEGIN of its own SQL: SQLite and PostgreSQL tell, MariaDB ends it at the next statement.
    began = postgresql_status(connection) in (IN_TRANSACTION, IN_ERROR)
    return began or getattr(driver, "in_transaction", False) or not connection.autocommit


def postgresql_status(connection: Any) -> int:
    """Renvoie ce que PostgreSQL dit de la transaction en cours ; 0 pour une autre base."""
    info = getattr(connection.connection, "info", None)
    return int(getattr(info, "transaction_status", 0))
