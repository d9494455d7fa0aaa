"""Remplit une base neuve : un compte, et des livraisons à chaque étape de leur vie."""

from decimal import Decimal

from django.contrib.auth.models import User

from src.share_kernel.infrastructure.event_bus import publish_event
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay

from .handlers import OrderPaid

PAID = (("o-1041", "FR"), ("o-1042", "AQ"), ("o-1043", "IT"), ("o-1044", "IT"))
WAITING = (("o-1045", "FR"),)
# As long as they may be, and with nowhere to break: shown apart, among what is done.
LONG = {
    "handler": f"acme.notifications.{'send_payment_receipt_' * 4}by_email",
    "error": f"HTTPError: https://carrier.example.com/{'parcels/' * 8}",
}


def publish(orders: tuple[tuple[str, str], ...]) -> None:
    for order, country in orders:
        publish_event(OrderPaid(order_id=order, total=Decimal("49.90"), country=country))


User.objects.create_superuser("camille", password="camille")
publish(PAID)
relay(execute=True)
publish(WAITING)
Delivery.objects.filter(pk=Delivery.objects.filter(state="done").values("pk")[:1]).update(**LONG)
