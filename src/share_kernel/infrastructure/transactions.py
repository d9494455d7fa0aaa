"""Les transactions qu’un handler ouvre : il les ferme, ou elles sont annulées."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from ..domain.domain_event import UnfinishedHandlerError


@contextmanager
def balanced(label: str) -> Iterator[None]:
    """Annule ce que le bloc laisse ouvert, sur toutes les bases.

    Sinon la connexion resterait dans cette transaction, et plus rien n’y serait validé.

    Raises:
        UnfinishedHandlerError: il a laissé une transaction ouverte, sans rien lever.
    """
    depths = [(connection, len(_blocks(connection))) for connection in connections.all()]
    try:
        yield
    finally:
        left = [item.alias for item, depth in depths if _roll_back(item, depth)]
    if left:
        raise UnfinishedHandlerError(
            f"{label} returned and left a transaction open on {', '.join(left)}: it is rolled "
            "back. Use « with transaction.atomic() », and put back the autocommit you turn off."
        )


def _blocks(connection: Any) -> list[Any]:
    blocks: list[Any] = connection.atomic_blocks
    return blocks


def _roll_back(connection: Any, depth: int) -> bool:
    """Annule ce qui est ouvert au-delà de *depth* blocs ; dit s’il y en avait."""
    left = _blocks(connection)[depth:]
    for block in reversed(left):
        block.__exit__(UnfinishedHandlerError, UnfinishedHandlerError(), None)
    manual = _is_manual(connection)
    if manual:
        connection.rollback()
        connection.set_autocommit(True)
    return bool(left) or manual


def _is_manual(connection: Any) -> bool:
    """Dit si le code a pris en main les transactions d’une connexion, et l’a laissée ainsi."""
    driver = connection.connection
    automatic = connection.in_atomic_block or not connection.settings_dict["AUTOCOMMIT"]
    if automatic or driver is None:
        return False
    # A BEGIN of its own SQL: SQLite and PostgreSQL tell, MariaDB ends it at the next statement.
    status = getattr(getattr(driver, "info", None), "transaction_status", 0)
    began = getattr(driver, "in_transaction", False) or status in _PG_OPEN
    return began or not connection.autocommit


_PG_OPEN = (2, 3)  # PQTRANS_INTRANS and PQTRANS_INERROR, for psycopg 2 and 3 alike
