"""Les événements que publie le module invoicing."""

from dataclasses import dataclass
from decimal import Decimal

from src.share_kernel.domain.domain_event import DomainEvent, register_event


@register_event
@dataclass(frozen=True)
class InvoiceApproved(DomainEvent):
    """Une facture est approuvée : son montant est dû."""

    event_type = "invoicing.invoice_approved"

    invoice_id: str
    number: str
    customer_email: str
    total: Decimal
