"""Les événements des tests du bus."""

from dataclasses import dataclass, field

from src.share_kernel.domain.domain_event import DomainEvent, register_event


@register_event
@dataclass(frozen=True)
class OrderPlaced(DomainEvent):
    event_type = "shop.order_placed"

    order_id: str = "o-1"
    total: float = 0.0
    items: list[str] = field(default_factory=list)


@register_event
@dataclass(frozen=True)
class OrderPaid(DomainEvent):
    event_type = "shop.order_paid"

    order_id: str = "o-1"
