"""Ce qu’un projet multi-tenant donne au bus ; le guide « multi-tenant » le montre."""

from collections.abc import Iterator
from contextlib import contextmanager

from django_tenants.utils import get_public_schema_name, schema_context, schema_exists

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import PermanentFailure


@contextmanager
def tenant_schema(tenant_id: str) -> Iterator[None]:
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        raise PermanentFailure(f"Tenant {tenant_id} has been deleted.")  # (1)
    is_ready = schema_exists(tenant.schema_name)
    with schema_context(tenant.schema_name if is_ready else get_public_schema_name()):  # (2)
        yield
