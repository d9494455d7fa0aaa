"""Ce que le module tenant sait faire."""

from django.db import transaction

from src.share_kernel.infrastructure.event_bus import publish_event

from .domain.events import TenantCreated
from .models import Tenant


@transaction.atomic
def create_tenant(slug: str) -> Tenant:
    """Crée un *tenant* et publie ``TenantCreated`` dans la même transaction.

    Args:
        slug: son nom dans les adresses, unique.

    Raises:
        IntegrityError: ce nom est pris ; rien n’est publié.
    """
    tenant = Tenant.objects.create(slug=slug, schema_name=slug.replace("-", "_"))
    publish_event(
        TenantCreated(
            tenant_id=str(tenant.pk),
            tenant_slug=tenant.slug,
            schema_name=tenant.schema_name,
        )
    )
    return tenant
