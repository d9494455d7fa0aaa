"""Livrer une ligne du registre, comme le ferait le réveil d’un *worker*."""

from __future__ import annotations

from uuid import UUID

from src.share_kernel.infrastructure.outbox.delivering import deliver_due


def deliver_row(pk: UUID | str, using: str = "default") -> bool:
    """Livre une ligne si son heure est venue ; dit si un essai a eu lieu."""
    return deliver_due(using, [UUID(str(pk))]) > 0
