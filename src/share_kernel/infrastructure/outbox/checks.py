"""Les vérifications système du registre."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.db import connections

from ...domain.event_types import event_types
from ..registry import registry

_ENOUGH = 5  # seconds


@register("share_kernel")
def check_sqlite(**_: Any) -> list[CheckMessage]:
    """Demande à SQLite ce qu’il faut à deux processus qui écrivent."""
    messages: list[CheckMessage] = []
    for alias in connections:
        database = connections.settings[alias]
        if database["ENGINE"] != "django.db.backends.sqlite3":
            continue
        options = database.get("OPTIONS", {})
        missing = []
        if options.get("transaction_mode") != "IMMEDIATE":
            missing.append("'transaction_mode': 'IMMEDIATE'")
        if "wal" not in str(options.get("init_command", "")).lower():
            missing.append("'init_command': 'PRAGMA journal_mode=WAL'")
        if options.get("timeout", _ENOUGH) < _ENOUGH:
            missing.append("'timeout': 20")
        if missing:
            messages.append(
                Warning(
                    f"The SQLite database {alias!r} lacks {', '.join(missing)} in its OPTIONS: "
                    "the relay and the web process would lock each other out.",
                    hint="Copy DATABASES from conf/settings.py of the reference project.",
                    id="share_kernel.W003",
                )
            )
    return messages


@register("share_kernel")
def check_mariadb(**_: Any) -> list[CheckMessage]:
    """Signale deux noms que l’interclassement habituel de MariaDB confond."""
    if not any(connections[alias].vendor == "mysql" for alias in connections):
        return []
    messages: list[CheckMessage] = []
    for event_type, cls in event_types.items():
        names = [item.name for item in registry.for_event(cls) if item.is_async]
        for position, name in enumerate(names):
            twins = [other for other in names[:position] if _folded(other) == _folded(name)]
            messages += (_confused(event_type, name, twin) for twin in twins)
    return messages


def _confused(event_type: str, name: str, twin: str) -> CheckMessage:
    return Warning(
        f"The handlers {twin!r} and {name!r} of {event_type!r} differ only by case or accents, "
        "which the default collation of MariaDB does not see: publishing the event would fail.",
        hint="Rename one with name='…', or create the database with COLLATE utf8mb4_bin.",
        id="share_kernel.W006",
    )


def _folded(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
