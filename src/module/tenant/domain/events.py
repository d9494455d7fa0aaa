"""Les événements que publie le module tenant."""

from dataclasses import dataclass

from src.share_kernel.domain.domain_event import DomainEvent, register_event


@register_event
@dataclass(frozen=True)
class TenantCreated(DomainEvent):
    """Un *tenant* existe désormais ; ``tenant_id`` le désigne."""

    event_type = "tenant.created"

    tenant_slug: str
    schema_name: str
