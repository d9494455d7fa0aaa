"""Les requêtes que chaque livraison répète : l’ORM les écrit une fois par base."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any

from django.db import connections, models, transaction
from django.db.models.sql import UpdateQuery

FIELDS = ("id", "attempts", "reserved_until", "handler", "key", "position")


class Slot(models.Expression):
    """Dans une requête écrite d’avance, la place d’une valeur de la ligne."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Un paramètre, que :func:`repeated` remplacera par la valeur."""
        return "%s", [self]

    def value(self, row: Any, connection: Any) -> Any:
        """Renvoie la valeur de la ligne, comme cette base l’écrit."""
        field = row._meta.get_field(self.name)  # noqa: SLF001  (Django documents it)
        return field.get_db_prep_value(getattr(row, self.name), connection)


ANY_ROW: Any = SimpleNamespace(**{name: Slot(name) for name in FIELDS})


def repeated(build: Callable[[Any, Any], Any]) -> Callable[[Any, Any], int]:
    """Fait d’une requête sur une ligne une méthode qui l’exécute sans l’écrire à nouveau.

    L’écrire coûterait à l’ORM plus de temps qu’à la base d’y répondre.

    Args:
        build: reçoit toutes les lignes, et une à la place des suivantes ; renvoie celles que
            l’on désigne, avec les nouvelles valeurs, ou ``None`` pour lire.

    Returns:
        une méthode qui renvoie combien de lignes sont lues, ou écrites.
    """
    texts: dict[str, Any] = {}

    @wraps(build)
    def run(rows: Any, row: Any) -> int:
        using = rows.db
        if using not in texts:
            texts[using] = _text(*build(rows.model.objects.using(using), ANY_ROW))
        (sql, params), is_written = texts[using]
        connection = connections[using]
        values = [p.value(row, connection) if isinstance(p, Slot) else p for p in params]
        with transaction.mark_for_rollback_on_error(using), connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.rowcount if is_written else len(cursor.fetchall())

    return run


def _text(rows: Any, change: dict[str, Any] | None) -> tuple[Any, bool]:
    query = rows.query
    if change is not None:
        query = query.chain(UpdateQuery)
        query.add_update_values(change)
    return query.get_compiler(rows.db).as_sql(), change is not None
