"""Des bases neuves sur les serveurs, et un alias de Django pour chacune, dans ce processus."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
import psycopg
from django.db import connections

COLLATION = "utf8mb4_general_ci"  # MariaDB's own, and the hardest to live with


def connect_to_mariadb(url: str) -> Any:
    """Ouvre une connexion à MariaDB, sans Django ; chaque requête se valide elle-même."""
    import MySQLdb  # not installed everywhere: a compiler built it

    parts = urlsplit(url)
    return MySQLdb.connect(
        host=parts.hostname or "",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path[1:],
        autocommit=True,
    )


def ask_mariadb(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Interroge MariaDB sur une connexion neuve."""
    with contextlib.closing(connect_to_mariadb(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        return list(cursor.fetchall())


def ask_postgresql(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Interroge PostgreSQL sur une connexion neuve."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def postgresql_database(server: str) -> Iterator[str]:
    """Une base PostgreSQL neuve, le temps du bloc."""
    name = new_name()
    ask_postgresql(server, f"CREATE DATABASE {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    ask_postgresql(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def mariadb_database(server: str, collation: str = COLLATION) -> Iterator[str]:
    """Une base MariaDB neuve, le temps du bloc."""
    name, server = new_name(), urlsplit(server)._replace(path="").geturl()
    ask_mariadb(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE {collation}")
    yield f"{server}/{name}"
    ask_mariadb(server, f"DROP DATABASE {name}")


def new_name() -> str:
    return f"test_share_kernel_{uuid.uuid4().hex[:12]}"


@contextlib.contextmanager
def alias(name: str, url: str, **options: Any) -> Iterator[str]:
    """Donne à Django un alias de plus, le temps du bloc, avec ces ``OPTIONS``."""
    database = dj_database_url.parse(url)
    database["OPTIONS"] = {**database.get("OPTIONS", {}), **options}
    default = connections.settings["default"]
    connections.settings[name] = connections.configure_settings(
        {"default": default, name: database}
    )[name]
    try:
        yield name
    finally:
        connections[name].close()
        del connections[name], connections.settings[name]
