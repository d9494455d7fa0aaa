"""Sans broker : les handlers asynchrones s’exécutent dans le processus, après le commit."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import override_settings

from src.module.tenant.models import Tenant
from src.share_kernel.domain.causation import current_cause
from src.share_kernel.domain.domain_event import DomainEvent, EventChainTooDeepError
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    subscribe_async,
    subscribe_sync,
)
from src.share_kernel.infrastructure.logs import EventContextFilter
from tests.share_kernel.events import OrderPaid, OrderPlaced

pytestmark = pytest.mark.django_db(transaction=True)

Seen = list[Any]


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


class Boom(Exception):
    pass


def explode(event: DomainEvent) -> None:
    raise Boom("no paper left")


class TestWhen:
    def test_after_the_commit_never_before(self, seen: Seen) -> None:
        with transaction.atomic():
            publish_event(OrderPlaced())
            assert seen == []
        assert len(seen) == 1

    def test_after_the_outermost_commit(self, seen: Seen) -> None:
        with transaction.atomic():
            with transaction.atomic():
                publish_event(OrderPlaced())
            assert seen == []
        assert len(seen) == 1

    def test_never_when_the_transaction_is_rolled_back(self, seen: Seen) -> None:
        with pytest.raises(Boom), transaction.atomic():
            publish_event(OrderPlaced())
            raise Boom

        assert seen == []

    def test_never_when_the_savepoint_is_rolled_back(self, seen: Seen) -> None:
        with transaction.atomic():
            publish_event(OrderPlaced(order_id="kept"))
            with pytest.raises(Boom), transaction.atomic():
                publish_event(OrderPlaced(order_id="dropped"))
                raise Boom
            publish_event(OrderPlaced(order_id="kept too"))

        assert [event.order_id for event in seen] == ["kept", "kept too"]

    def test_at_once_outside_a_transaction(self, seen: Seen) -> None:
        publish_event(OrderPlaced())

        assert len(seen) == 1

    def test_other_databases_are_named(self, seen: Seen) -> None:
        with transaction.atomic():
            publish_event(OrderPlaced(), using="default")
            assert seen == []
        assert len(seen) == 1

    def test_in_the_order_of_publication_and_subscription(self) -> None:
        order: list[str] = []
        subscribe_async(OrderPlaced, lambda event: order.append(f"{event.order_id}a"), name="a")
        subscribe_async(OrderPlaced, lambda event: order.append(f"{event.order_id}b"), name="b")

        with transaction.atomic():
            publish_event(OrderPlaced(order_id="1"))
            publish_event(OrderPlaced(order_id="2"))

        assert order == ["1a", "1b", "2a", "2b"]


class TestWhat:
    def test_handlers_receive_an_equal_event_rebuilt(self, seen: Seen) -> None:
        event = OrderPlaced(items=["pen"])

        publish_event(event)

        assert seen == [event]
        assert seen[0] is not event

    def test_each_handler_has_its_own_copy(self, seen: Seen) -> None:
        subscribe_async(OrderPlaced, lambda event: event.items.clear(), name="careless")
        late: Seen = []
        subscribe_async(OrderPlaced, late.append, name="late")

        publish_event(OrderPlaced(items=["pen"]))

        assert late[0].items == ["pen"]

    def test_what_a_sync_handler_changes_does_not_travel(self, seen: Seen) -> None:
        subscribe_sync(OrderPlaced, lambda event: event.items.clear())

        publish_event(OrderPlaced(items=["pen"]))

        assert seen[0].items == ["pen"]

    def test_a_coroutine_runs_to_its_end(self) -> None:
        steps: list[str] = []

        async def ship(event: OrderPlaced) -> None:
            steps.append("before")
            await asyncio.sleep(0)
            await Tenant.objects.acreate(slug=event.order_id, schema_name="x")
            steps.append("after")

        subscribe_async(OrderPlaced, ship, name="ship")
        publish_event(OrderPlaced(order_id="acme"))

        assert steps == ["before", "after"]
        assert Tenant.objects.get().slug == "acme"


class TestFailures:
    def test_one_failure_stops_neither_the_others_nor_the_caller(
        self, seen: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscribe_async(OrderPlaced, explode)
        late: Seen = []
        subscribe_async(OrderPlaced, late.append, name="late")
        event = OrderPlaced()

        with transaction.atomic():
            publish_event(event)
            publish_event(OrderPlaced())

        assert (len(seen), len(late)) == (2, 2)
        record = caplog.records[0]
        assert record.levelno == logging.ERROR
        assert f"{__name__}.explode" in record.getMessage()
        assert str(event.event_id) in record.getMessage()
        assert "no paper left" in record.getMessage()
        assert record.exc_info

    @pytest.mark.parametrize("logged", [True, False])
    def test_the_whole_event_is_logged_if_allowed(
        self, logged: bool, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.EVENT_BUS = {"LOG_PAYLOAD": logged}
        subscribe_async(OrderPlaced, explode)

        publish_event(OrderPlaced(order_id="secret-7"))

        assert ('"order_id": "secret-7"' in caplog.text) is logged

    def test_a_failed_handler_leaves_nothing_half_done(self) -> None:
        def half(event: OrderPlaced) -> None:
            Tenant.objects.create(slug="half", schema_name="half")
            raise Boom

        subscribe_async(OrderPlaced, half, name="half")

        publish_event(OrderPlaced())

        assert not Tenant.objects.exists()

    def test_the_callers_work_stays_committed(self) -> None:
        subscribe_async(OrderPlaced, explode)

        with transaction.atomic():
            Tenant.objects.create(slug="acme", schema_name="acme")
            publish_event(OrderPlaced())

        assert Tenant.objects.count() == 1


opened: list[str] = []


@contextmanager
def tenant_schema(tenant_id: str) -> Iterator[None]:
    opened.append(f"enter {tenant_id}")
    try:
        yield
    finally:
        opened.append(f"leave {tenant_id}")


class TestContext:
    @pytest.fixture(autouse=True)
    def _tenants(self) -> Iterator[None]:
        opened.clear()
        with override_settings(EVENT_BUS={"TENANT_CONTEXT": f"{__name__}.tenant_schema"}):
            yield

    def test_an_async_handler_runs_as_its_tenant(self) -> None:
        subscribe_async(OrderPlaced, lambda event: opened.append("handler"), name="h")

        publish_event(OrderPlaced(tenant_id="acme"))

        assert opened == ["enter acme", "handler", "leave acme"]

    def test_the_tenant_is_left_when_the_handler_fails(self) -> None:
        subscribe_async(OrderPlaced, explode)

        publish_event(OrderPlaced(tenant_id="acme"))

        assert opened == ["enter acme", "leave acme"]

    def test_a_sync_handler_stays_in_the_callers_context(self) -> None:
        subscribe_sync(OrderPlaced, lambda event: opened.append("handler"))

        publish_event(OrderPlaced(tenant_id="acme"))

        assert opened == ["handler"]

    def test_no_tenant_no_context(self, seen: Seen) -> None:
        publish_event(OrderPlaced())

        assert len(seen) == 1
        assert opened == []

    def test_the_log_carries_the_event(self, seen: Seen) -> None:
        records: list[logging.LogRecord] = []

        def log(event: OrderPlaced) -> None:
            record = logging.makeLogRecord({"msg": "shipping"})
            EventContextFilter().filter(record)
            records.append(record)

        subscribe_async(OrderPlaced, log, name="log")
        event = OrderPlaced()
        publish_event(event)

        assert vars(records[0])["event_id"] == str(event.event_id)
        assert vars(records[0])["correlation_id"] == str(event.correlation_id)
        outside = logging.makeLogRecord({})
        EventContextFilter().filter(outside)
        assert vars(outside)["event_id"] == vars(outside)["correlation_id"] == "-"

    def test_the_line_of_a_failure_carries_its_event(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Elle est écrite une fois le handler terminé, parfois dans le traitement d’un autre."""

        def fail(event: OrderPlaced) -> None:
            raise ValueError("no paper left")

        subscribe_async(OrderPlaced, fail, name="fail")
        event = OrderPlaced(correlation_id=UUID(int=7))
        publish_event(event)

        (record,) = caplog.records
        EventContextFilter().filter(record)
        assert vars(record)["event_id"] == str(event.event_id)
        assert vars(record)["correlation_id"] == str(UUID(int=7))

    def test_the_handler_has_its_own_transaction(self) -> None:
        inside: list[bool] = []
        subscribe_async(
            OrderPlaced, lambda event: inside.append(connection.in_atomic_block), name="h"
        )

        publish_event(OrderPlaced())

        assert inside == [True]


class TestChains:
    def test_an_event_published_by_an_async_handler_names_its_cause(self, seen: Seen) -> None:
        paid: Seen = []
        subscribe_async(OrderPlaced, lambda event: publish_event(OrderPaid()), name="pay")
        subscribe_async(OrderPaid, paid.append, name="paid")
        placed = OrderPlaced()

        publish_event(placed)

        assert paid[0].causation_id == placed.event_id
        assert paid[0].correlation_id == placed.correlation_id
        assert current_cause.get() is None

    def test_an_endless_chain_is_stopped(
        self, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.EVENT_BUS = {"MAX_DEPTH": 4}
        runs: Seen = []

        def again(event: OrderPlaced) -> None:
            runs.append(event)
            publish_event(OrderPlaced())

        subscribe_async(OrderPlaced, again, name="again")
        publish_event(OrderPlaced())

        assert len(runs) == 4
        assert EventChainTooDeepError.__name__ in caplog.text
        assert "3 earlier events → shop.order_placed → shop.order_placed" in caplog.text
