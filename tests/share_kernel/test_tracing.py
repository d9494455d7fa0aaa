"""Ce que la trace dit, comparé à ce qui a eu lieu dans la base."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import TestCase

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import DomainEvent
from src.share_kernel.infrastructure import dispatch
from src.share_kernel.infrastructure.event_bus import (
    event_bus,
    publish_event,
    subscribe_async,
    subscribe_sync,
)
from src.share_kernel.infrastructure.outbox import enrolment
from src.share_kernel.infrastructure.outbox.relay import relay
from src.share_kernel.infrastructure.registry import registry
from src.share_kernel.testing import deliver_pending, isolated_bus, record_events, trace_bus
from tests.share_kernel.events import OrderPaid, OrderPlaced


class Refused(Exception):
    pass


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolated_bus():
        yield


def shown(text: str) -> str:
    """Écarte les lignes vides et la marge de ce qu’un test attend."""
    lines = [line for line in text.splitlines() if line.strip()]
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[margin:] for line in lines)


def write(event: Any) -> None:
    Tenant.objects.create(
        slug=f"t{Tenant.objects.count()}", schema_name=f"s{Tenant.objects.count()}"
    )


def fail(event: Any) -> None:
    write(event)
    raise Refused


def test_a_transaction_and_what_follows_it() -> None:
    subscribe_sync(OrderPlaced, write, name="ledger")
    subscribe_async(OrderPlaced, write, name="letter")

    with trace_bus() as trace, transaction.atomic():
        publish_event(OrderPlaced())

    assert str(trace) == shown(
        """
        transaction
          publish shop.order_placed
            waiting: letter
          sync handler ledger
            insert tenant_tenant
          commit
        transaction
          savepoint
            async handler letter
              insert tenant_tenant
          commit
        """
    )


def test_what_waits_in_a_savepoint_that_is_rolled_back_is_never_called() -> None:
    subscribe_async(OrderPlaced, write, name="letter")

    with trace_bus() as trace, transaction.atomic():
        with pytest.raises(Refused), transaction.atomic():
            publish_event(OrderPlaced())
            raise Refused
        Tenant.objects.update(slug="kept")

    assert str(trace) == shown(
        """
        transaction
          savepoint (rolled back)
            publish shop.order_placed
              never called: letter
          update tenant_tenant
          commit
        """
    )


def test_a_sync_handler_that_refuses_undoes_all() -> None:
    subscribe_sync(OrderPlaced, fail, name="credit")
    subscribe_async(OrderPlaced, write, name="letter")

    with trace_bus() as trace, pytest.raises(Refused) as raised, transaction.atomic():
        publish_event(OrderPlaced())

    assert str(trace) == shown(
        """
        transaction (rolled back)
          publish shop.order_placed
            never called: letter
          sync handler credit
            insert tenant_tenant
            raised Refused
        """
    )
    assert "In sync handler credit of event" in raised.value.__notes__[0]
    assert not Tenant.objects.exists()


def test_an_event_that_a_handler_publishes_is_inside_it() -> None:
    subscribe_sync(OrderPlaced, lambda event: publish_event(OrderPaid()), name="till")
    subscribe_sync(OrderPaid, write, name="ledger")

    with trace_bus() as trace:
        publish_event(OrderPlaced())

    assert str(trace) == shown(
        """
        publish shop.order_placed
        sync handler till
          publish shop.order_paid
          sync handler ledger
            insert tenant_tenant
        """
    )


def test_an_event_to_which_nobody_reacts_is_there_too() -> None:
    with trace_bus() as trace:
        publish_event(OrderPlaced())

    assert str(trace) == "publish shop.order_placed"


def test_a_coroutine_is_a_handler_until_its_end() -> None:
    async def letter(event: OrderPlaced) -> None:
        from asgiref.sync import sync_to_async

        await sync_to_async(write)(event)

    subscribe_async(OrderPlaced, letter, name="letter", atomic=False)

    with trace_bus() as trace:
        publish_event(OrderPlaced())

    assert str(trace) == shown(
        """
        publish shop.order_placed
          waiting: letter
        async handler letter
          insert tenant_tenant
        """
    )


def test_the_register_writes_its_rows_and_its_relay_delivers() -> None:
    dispatch.enrol_with(enrolment.enrol)
    subscribe_async(OrderPlaced, write, name="letter")

    with trace_bus() as trace:
        with transaction.atomic():
            publish_event(OrderPlaced())
        published = str(trace)
        relay(execute=True)

    assert "insert share_kernel_outbox_delivery" in published
    assert "async handler" not in published
    delivered = str(trace).removeprefix(published)
    assert delivered.index("async handler letter") < delivered.index("insert tenant_tenant")


class TestInATestCase(TestCase):
    def test_deliver_pending_is_what_follows_the_commit(self) -> None:
        with isolated_bus():
            subscribe_async(OrderPlaced, write, name="letter")
            with trace_bus() as trace:
                publish_event(OrderPlaced())
                deliver_pending(only=write)

        assert str(trace) == shown(
            """
            publish shop.order_placed
              waiting: letter
            savepoint
              savepoint
                async handler letter
                  insert tenant_tenant
            """
        )


def test_nothing_is_left_behind() -> None:
    before, plan = dict(vars(connection)), registry.plan
    subscribe_sync(OrderPlaced, write)

    with pytest.raises(ZeroDivisionError), trace_bus() as trace:
        raise ZeroDivisionError
    publish_event(OrderPlaced())

    assert trace.steps == []
    assert vars(connection).keys() == before.keys()
    assert connection.execute_wrappers == []
    assert registry.plan == plan


def test_a_trace_within_a_trace_sees_its_part() -> None:
    subscribe_sync(OrderPlaced, write, name="ledger")

    with trace_bus() as outer:
        publish_event(OrderPlaced())
        with trace_bus() as inner:
            publish_event(OrderPlaced())

    assert str(outer) == "\n".join([str(inner)] * 2)


def test_another_thread_is_not_this_one() -> None:
    with trace_bus() as trace:
        thread = threading.Thread(target=publish_event, args=(OrderPlaced(),))
        thread.start()
        thread.join()

    assert trace.steps == []


def test_what_records_events_is_not_a_handler() -> None:
    with trace_bus() as trace, record_events() as events:
        publish_event(OrderPlaced())

    assert len(events) == 1
    assert str(trace) == "publish shop.order_placed"


def test_a_handler_of_every_event_is_one() -> None:
    subscribe_sync(DomainEvent, lambda event: None, name="audit")

    with trace_bus() as trace:
        publish_event(OrderPlaced())

    assert str(trace) == "publish shop.order_placed\nsync handler audit"


def test_a_handler_can_be_unsubscribed_and_subscribed_in_it() -> None:
    with trace_bus() as trace:
        subscribe_sync(OrderPlaced, write, name="ledger")
        publish_event(OrderPlaced())
        assert event_bus.unsubscribe(OrderPlaced, write)
        publish_event(OrderPlaced())

    assert str(trace).count("sync handler ledger") == 1


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        (
            "/* who */ INSERT OR IGNORE INTO tenant_tenant (slug, schema_name) VALUES ('a', 'a')",
            "insert",
        ),
        ('DELETE FROM "tenant_tenant"', "delete"),
        ("update tenant_tenant set slug = 'b'", "update"),
        (
            "REPLACE INTO main.\"tenant_tenant\" (id, slug, schema_name) VALUES (1, 'c', 'c')",
            "replace",
        ),
    ],
)
def test_a_write_is_named_whatever_its_spelling(sql: str, seen: str) -> None:
    with trace_bus() as trace, connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.execute("SELECT 'INSERT INTO nowhere'")

    assert str(trace) == f"{seen} tenant_tenant"


def test_a_write_that_fails_has_not_taken_place() -> None:
    with trace_bus() as trace, pytest.raises(Exception, match="no such table"):
        connection.cursor().execute("DELETE FROM nowhere")

    assert trace.steps == []


def test_a_transaction_without_atomic() -> None:
    with trace_bus() as trace:
        transaction.set_autocommit(False)
        Tenant.objects.update(slug="a")
        transaction.rollback()
        Tenant.objects.update(slug="b")
        transaction.commit()
        transaction.set_autocommit(True)

    assert str(trace) == shown(
        """
        transaction (rolled back)
          update tenant_tenant
        transaction
          update tenant_tenant
          commit
        """
    )
