"""Un handler qui échoue deux fois."""

from src.module.invoicing.domain.events import InvoiceApproved
from src.share_kernel.domain.domain_event import RetryAfter
from src.share_kernel.infrastructure.event_bus import subscribe_async

from . import journal, scenes

FAILURES = 2


def print_invoice(event: InvoiceApproved) -> None:
    """Imprime la facture, une fois qu’il y a du papier."""
    # What a failed attempt writes to the database is rolled back: count in the journal.
    if sum("print_invoice FAILED" in line.what for line in journal.read()) < FAILURES:
        raise RetryAfter(0.5, f"no paper for {event.number}")


if not scenes.are_played():
    subscribe_async(InvoiceApproved)(print_invoice)
