from django.db import connection

from src.module.invoicing.domain.events import InvoiceApproved
from src.module.notification.models import Notification
from src.module.tenant.domain.events import TenantCreated
from src.share_kernel.infrastructure.event_bus import subscribe_async

from .models import Client


@subscribe_async(TenantCreated)
def create_schema(event: TenantCreated) -> None:
    """Crée le schéma et ses tables, dans la transaction du handler : tout ou rien."""
    if not Client.objects.filter(schema_name=event.schema_name).exists():
        Client(schema_name=event.schema_name).save(verbosity=0)


@subscribe_async(InvoiceApproved, max_attempts=1)
def break_on_demand(event: InvoiceApproved) -> None:
    """Écrit dans le schéma du tenant, puis échoue comme le dit l’adresse du client."""
    reason = event.customer_email.partition("@")[0]
    if reason in {"python", "sql"}:
        Notification.objects.create(event_id=event.event_id, recipient="broken", subject="broken")
    if reason == "python":
        raise ValueError("this handler fails")
    if reason == "sql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")  # leaves the transaction unusable until its rollback
