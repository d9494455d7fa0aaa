"""Ce que la boutique publie, et des handlers qui échouent chacun à sa façon."""

from dataclasses import dataclass
from decimal import Decimal

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    PermanentFailure,
    RetryAfter,
    register_event,
)
from src.share_kernel.infrastructure.event_bus import subscribe_async


@register_event
@dataclass(frozen=True)
class OrderPaid(DomainEvent):
    """Une commande a été payée."""

    event_type = "shop.order_paid"
    order_id: str
    total: Decimal
    country: str


@subscribe_async(OrderPaid, name="shop.handlers.send_receipt")
def send_receipt(event: OrderPaid) -> None:
    if event.country == "IT":
        raise ConnectionError("smtp.example.com does not answer")


@subscribe_async(OrderPaid, name="shop.handlers.book_carrier")
def book_carrier(event: OrderPaid) -> None:
    if event.country == "AQ":
        raise PermanentFailure("no carrier goes there")
    if event.country == "IT":
        raise RetryAfter(3600, "the carrier is on strike")
