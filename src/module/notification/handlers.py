"""À quoi réagit le module notification."""

from src.module.invoicing.domain.events import InvoiceApproved
from src.module.tenant.domain.events import TenantCreated
from src.share_kernel.domain.domain_event import DomainEvent
from src.share_kernel.infrastructure.event_bus import subscribe_async

from .models import Notification

OPERATIONS = "operations"


@subscribe_async(InvoiceApproved)
def notify_customer(event: InvoiceApproved) -> None:
    """Annonce au client que sa facture est approuvée."""
    _notify_once(event, event.customer_email, f"Invoice {event.number} approved: {event.total}")


@subscribe_async(TenantCreated)
def announce_tenant(event: TenantCreated) -> None:
    """Prévient l’exploitation qu’un *tenant* attend son schéma."""
    _notify_once(event, OPERATIONS, f"New tenant {event.tenant_slug}, schema {event.schema_name}")


def _notify_once(event: DomainEvent, recipient: str, subject: str) -> None:
    """L’identifiant de l’événement rend un second essai sans effet."""
    Notification.objects.get_or_create(
        event_id=event.event_id, recipient=recipient, defaults={"subject": subject}
    )
