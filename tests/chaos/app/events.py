"""L’unique événement de la tourmente."""

from dataclasses import dataclass

from src.share_kernel.domain.domain_event import DomainEvent, register_event


@register_event
@dataclass(frozen=True)
class OrderPlaced(DomainEvent):
    """Une commande est passée, d’un certain rang parmi celles de son client."""

    event_type = "chaos.order_placed"

    customer: int
    rank: int
