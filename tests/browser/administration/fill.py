"""Remplit une base neuve : un compte, et des livraisons à chaque étape de leur vie."""

from decimal import Decimal

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from src.share_kernel.infrastructure.event_bus import publish_event  # noqa: E402
from src.share_kernel.infrastructure.outbox.relay import relay  # noqa: E402
from tests.browser.administration.handlers import OrderPaid  # noqa: E402

PAID = (("o-1041", "FR"), ("o-1042", "AQ"), ("o-1043", "IT"), ("o-1044", "IT"))
WAITING = (("o-1045", "FR"),)


def publish(orders: tuple[tuple[str, str], ...]) -> None:
    for order, country in orders:
        publish_event(OrderPaid(order_id=order, total=Decimal("49.90"), country=country))


call_command("migrate", verbosity=0)
User.objects.create_superuser("camille", password="camille")
publish(PAID)
relay(execute=True)
publish(WAITING)
