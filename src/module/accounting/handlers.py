"""À quoi réagit le module accounting."""

from src.module.invoicing.domain.events import InvoiceApproved
from src.share_kernel.infrastructure.event_bus import subscribe_sync

from .models import LedgerEntry


@subscribe_sync(InvoiceApproved)
def record_ledger_entry(event: InvoiceApproved) -> None:
    """Passe l’écriture dans la transaction qui approuve la facture."""
    LedgerEntry.objects.create(invoice_number=event.number, amount=event.total)
