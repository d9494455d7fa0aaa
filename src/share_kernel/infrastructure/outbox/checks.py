"""Les vérifications système du registre."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.db import connections

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
                    hint=f"Add that to DATABASES[{alias!r}]['OPTIONS'].",
                    id="share_kernel.W003",
                )
            )
    return messages
