"""La base d’une pile, lue sans Django : le contrôle ne passe pas par ce qu’il contrôle."""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from .missing import MissingError

POSTGRES_URL = "postgresql://postgres@127.0.0.1:5432/postgres"
MARIADB_URL = "mysql://root@127.0.0.1:3306/test"


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Renvoie les lignes d’une requête."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), 20)) as connection:
            return connection.execute(query).fetchall()
    if url.startswith("mysql"):
        with mysql(url) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Un fichier dans le dossier de la pile."""
    yield f"sqlite:///{folder / 'db.sqlite3'}"


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Une base neuve sur le serveur partagé, effacée à la fin."""
    server = os.environ.get("POSTGRES_URL", POSTGRES_URL)
    name = f"chaos_{uuid.uuid4().hex[:12]}"
    try:
        with psycopg.connect(server, autocommit=True, connect_timeout=2) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
    except psycopg.OperationalError as error:
        raise MissingError(f"POSTGRES_URL: {error}") from None
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """Une base neuve sur le serveur partagé, effacée à la fin."""
    server = os.environ.get("MARIADB_URL", MARIADB_URL)
    name = f"chaos_{uuid.uuid4().hex[:12]}"
    try:
        with mysql(server) as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    except ImportError as error:
        raise MissingError(f"mysqlclient: {error}") from None
    except OSError as error:
        raise MissingError(f"MARIADB_URL: {error}") from None
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with mysql(server) as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@contextlib.contextmanager
def mysql(url: str) -> Iterator[Any]:
    """Un curseur qui valide au fur et à mesure.

    Raises:
        ImportError: le pilote n’est pas installé.
        OSError: le serveur ne répond pas.
    """
    driver = importlib.import_module("MySQLdb")  # optional, and without types
    parts = urlsplit(url)
    try:
        connection = driver.connect(
            host=parts.hostname, port=parts.port or 3306, database=parts.path[1:],
            user=unquote(parts.username or ""), password=unquote(parts.password or ""),
            connect_timeout=5, autocommit=True,
        )  # fmt: skip
    except driver.OperationalError as error:
        raise OSError(*error.args) from None
    with contextlib.closing(connection):
        yield connection.cursor()
