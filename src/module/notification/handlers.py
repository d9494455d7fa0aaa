"""À quoi réagit le module notification."""

from django.core.mail import send_mail

from src.module.invoicing.domain.events import InvoiceApproved
from src.module.tenant.domain.events import TenantCreated
from src.share_kernel.domain.domain_event import DomainEvent
from src.share_kernel.infrastructure.event_bus import subscribe_async

from .models import Notification

SENDER = "facturation@example.com"
OPERATORS = "exploitation@example.com"


@subscribe_async(InvoiceApproved)
def send_approval_email(event: InvoiceApproved) -> None:
    """Écrit au client que sa facture est approuvée."""
    _send_once(
        event,
        kind="invoice_approved",
        recipient=event.customer_email,
        subject=f"Facture {event.number} approuvée",
        body=f"Montant : {event.total} €",
    )


@subscribe_async(TenantCreated)
def announce_tenant(event: TenantCreated) -> None:
    """Prévient l’exploitation qu’un *tenant* attend son schéma."""
    _send_once(
        event,
        kind="tenant_created",
        recipient=OPERATORS,
        subject=f"Nouveau tenant {event.tenant_slug}",
        body=f"Schéma : {event.schema_name}",
    )


def _send_once(event: DomainEvent, *, kind: str, recipient: str, subject: str, body: str) -> None:
    """Envoie après avoir noté l’envoi, dans la transaction que le bus ouvre pour le handler."""
    _, is_new = Notification.objects.get_or_create(
        event_id=event.event_id, kind=kind, defaults={"recipient": recipient}
    )
    if is_new:
        send_mail(subject, body, SENDER, [recipient])
