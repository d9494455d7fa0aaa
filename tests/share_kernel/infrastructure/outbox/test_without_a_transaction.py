"""Un handler abonné avec atomic=False : réservé tant qu’il s’exécute, au moins une fois."""

from typing import Any, cast

import pytest
from django.db import connection, transaction

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import DomainEvent, SubscriptionError
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from src.share_kernel.infrastructure.outbox import delivering, models
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.services.stack import eventually
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.one_row import deliver_row

pytestmark = pytest.mark.django_db(transaction=True)


def only() -> Delivery:
    return Delivery.objects.get()


def test_it_may_call_a_durable_service() -> None:
    inside: list[bool] = []

    def service(event: DomainEvent) -> None:
        inside.append(connection.in_atomic_block)
        with transaction.atomic(durable=True):
            Tenant.objects.create(slug="acme", schema_name="acme")

    subscribe_async(OrderPlaced, service, name="service", atomic=False)
    publish_event(OrderPlaced())

    assert inside == [False]
    assert Tenant.objects.exists()


def test_what_it_has_committed_stays_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    def service(event: DomainEvent) -> None:
        Tenant.objects.create(slug="acme", schema_name="acme")
        raise ValueError("no paper left")

    subscribe_async(OrderPlaced, service, name="service", atomic=False)
    publish_event(OrderPlaced())

    assert Tenant.objects.exists()
    assert "no paper left" in caplog.text


def test_its_callbacks_are_robust_too(caplog: pytest.LogCaptureFixture) -> None:
    paid: list[Any] = []
    subscribe_async(OrderPaid, paid.append, name="paid")

    def service(event: DomainEvent) -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: 1 / 0)
            publish_event(OrderPaid())

    subscribe_async(OrderPlaced, service, name="service", atomic=False)
    publish_event(OrderPlaced())

    assert len(paid) == 1
    assert "An on_commit callback of handler service failed" in caplog.text
    assert "Gave up" not in caplog.text


@pytest.mark.parametrize(
    "options", [{"claim": 60}, {"atomic": False, "claim": 0}, {"atomic": False, "claim": -1}]
)
def test_a_reservation_by_the_clock_is_for_such_a_handler(options: Any) -> None:
    with pytest.raises(SubscriptionError, match="claim is"):
        subscribe_async(OrderPlaced, print, **options)


@pytest.mark.usefixtures("outbox")
class TestReserved:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (models, delivering):
            monkeypatch.setattr(module, "CLAIM", 2.0)

    def test_it_runs_once_while_its_process_lives(self) -> None:
        """Trois réservations de long, et un rival qui essaie sans cesse."""
        runs: list[Any] = []
        rivals: list[bool] = []

        def slow(event: DomainEvent) -> None:
            runs.append(event)
            ends = {only().reserved_until}

            def renewed_three_times() -> bool:
                rivals.append(deliver_row(only().pk, "default"))
                ends.add(only().reserved_until)
                return len(ends) > 3

            eventually(renewed_three_times, "the reservation is renewed")

        subscribe_async(OrderPlaced, slow, name="slow", atomic=False)
        publish_event(OrderPlaced())

        assert relay(execute=True) == 1

        assert len(runs) == 1
        assert not any(rivals)
        assert (only().state, only().attempts) == ("done", 1)

    def test_a_given_time_is_reserved_at_once(self) -> None:
        seen: list[Any] = []

        def slow(event: DomainEvent) -> None:
            seen.append(cast(Any, only().reserved_until) - only().pending_since)

        subscribe_async(OrderPlaced, slow, name="slow", atomic=False, claim=3600)
        publish_event(OrderPlaced())
        relay(execute=True)

        assert seen[0].total_seconds() > 3500
        assert only().state == "done"

    def test_a_settlement_is_refused_when_another_has_taken_the_row(self) -> None:
        def robbed(event: DomainEvent) -> None:
            Delivery.objects.update(attempts=2)  # what the claim of another worker writes

        subscribe_async(OrderPlaced, robbed, name="robbed", atomic=False)
        publish_event(OrderPlaced())
        relay(execute=True)

        assert (only().state, only().attempts, only().error) == ("pending", 2, "")

    def test_a_failure_waits_like_another(self) -> None:
        subscribe_async(OrderPlaced, lambda event: 1 / 0, name="h", atomic=False)
        publish_event(OrderPlaced())
        relay(execute=True)

        assert (only().state, only().attempts) == ("pending", 1)
        assert only().error == "ZeroDivisionError: division by zero"
