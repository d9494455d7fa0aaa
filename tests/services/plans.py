"""Ce que chaque requête sur le registre fait lire au serveur."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

from src.share_kernel.infrastructure.outbox.models import TABLE


@dataclass(frozen=True)
class Plan:
    """Une requête, et comment le serveur l’exécute."""

    sql: str
    rows: Any

    @property
    def reads(self) -> bool:
        return self.sql.startswith("SELECT")

    @property
    def text(self) -> str:
        return str(self.rows)

    @property
    def buffers(self) -> int:
        """Les pages touchées, sur PostgreSQL."""
        ((plan,),) = self.rows
        top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
        return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

    @property
    def accesses(self) -> set[str]:
        """Comment chaque table est lue, sur MariaDB : ``ALL`` est un parcours entier."""
        return {row[3] for row in self.rows if row[2] == TABLE}


@contextlib.contextmanager
def explained(using: str) -> Iterator[list[Plan]]:
    """Explique chaque requête sur la table ; PostgreSQL l’exécute une fois de plus, pour rien."""
    plans: list[Plan] = []
    is_postgresql = connections[using].vendor == "postgresql"
    verb = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)" if is_postgresql else "EXPLAIN"

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if TABLE in sql and sql.startswith(("UPDATE", "SELECT", "DELETE")):
            with transaction.atomic(using=using), context["connection"].cursor() as cursor:
                cursor.cursor.execute(f"{verb} {sql}", params)
                plans.append(Plan(sql, cursor.cursor.fetchall()))
                transaction.set_rollback(True, using=using)
        return execute(sql, params, many, context)

    with connections[using].execute_wrapper(explain):
        yield plans
