"""Ce que le module invoicing sait faire."""

from django.db import transaction
from django.utils import timezone

from src.share_kernel.infrastructure.event_bus import publish_event

from .domain.events import InvoiceApproved
from .models import Invoice


class InvoiceAlreadyApprovedError(Exception):
    """La facture était déjà approuvée ; rien n’a changé."""


@transaction.atomic
def approve_invoice(invoice_id: int, *, tenant_id: str | None = None) -> Invoice:
    """Approuve une facture et publie ``InvoiceApproved`` dans la même transaction.

    Args:
        invoice_id: la clé primaire de la facture.
        tenant_id: le *tenant* à qui elle appartient, s’il y en a plusieurs.

    Raises:
        Invoice.DoesNotExist: il n’y a pas de telle facture.
        InvoiceAlreadyApprovedError: elle est déjà approuvée ; rien n’est publié.
    """
    invoice = Invoice.objects.select_for_update().get(pk=invoice_id)
    if invoice.approved_at is not None:
        raise InvoiceAlreadyApprovedError(f"Invoice {invoice.number} is already approved.")
    invoice.approved_at = timezone.now()
    invoice.save(update_fields=["approved_at"])
    publish_event(
        InvoiceApproved(
            tenant_id=tenant_id,
            invoice_id=str(invoice.pk),
            number=invoice.number,
            customer_email=invoice.customer_email,
            total=invoice.total,
        )
    )
    return invoice
