"""Ce qui part après le commit, contre ce que Celery demande seul."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch
from uuid import uuid4

from celery import current_app
from django.core.management import call_command
from django.db import transaction

from src.share_kernel.infrastructure import dispatch, tasks
from src.share_kernel.infrastructure.celery_transport import CeleryTransport
from src.share_kernel.infrastructure.event_bus import EventBus

from .measuring import ROUNDS, Row, compare, measure
from .publishing import InvoiceApproved, make_handler

HANDLER = "bench.handler"
DELAY = "`task.delay`"
delay = tasks.dispatch_async_event.delay


def make_bus(enrol: dispatch.Enrol) -> EventBus:
    """Renvoie un bus qui a un handler asynchrone."""
    bus = EventBus(enrol)
    bus.subscribe_async(InvoiceApproved, make_handler(), name=HANDLER)
    return bus


def sending() -> list[Row]:
    """Un événement asynchrone, contre ``task.delay`` sur le transport en mémoire."""
    event = InvoiceApproved(invoice_id="inv-001", total=1500.0)
    planned: list[dispatch.Dispatch] = []
    make_bus(planned.extend).publish(event)
    before, one = "an async event, before the broker", "sending one task"
    bus, post = make_bus(dispatch.enrol), CeleryTransport().post

    def send_one() -> None:
        assert not post(dispatch.messages_for(planned))

    # What publishing an event costs, up to the point where something is sent.
    with patch.object(CeleryTransport, "post", lambda _self, _messages: ()):
        times = measure(
            {
                before: partial(bus.publish, event),
                one: send_one,
                DELAY: partial(delay, event.to_dict(), HANDLER, 0, "default"),
            }
        )
    current_app.control.purge()
    return [
        compare(times, "before-broker", before, DELAY, 0.05),
        compare(times, "one-task", one, DELAY, 0.75),
    ]


def through_redis() -> list[Row]:
    """Mille événements dans un commit, et une publication durable, contre Celery et Redis."""
    current_app.conf.task_default_queue = f"bench-{uuid4().hex[:12]}"
    call_command("migrate", verbosity=0)
    dispatch.enrol_with(None)  # the register is installed; _durable() alone goes through it
    rows = [*_thousand(), *_durable()]
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue(current_app.conf.task_default_queue).queue.delete()
    return rows


def _thousand() -> list[Row]:
    events = [InvoiceApproved(invoice_id=f"inv-{number}") for number in range(1000)]
    bus = make_bus(dispatch.enrol)
    ours, theirs = "1000 events, `publish_events`", "1000 × `on_commit`, `delay`"

    def in_batches() -> None:
        with transaction.atomic():
            bus.publish_many(events)

    def one_by_one() -> None:
        with transaction.atomic():
            for event in events:
                transaction.on_commit(partial(delay, event.to_dict(), HANDLER))

    times = measure({ours: in_batches, theirs: one_by_one}, rounds=max(1, ROUNDS // 10))
    return [compare(times, "thousand", ours, theirs, round(1 / 15, 4))]


def _durable() -> list[Row]:
    from src.share_kernel.infrastructure.outbox import enrolment  # it has models

    bus = make_bus(enrolment.enrol)
    ours, theirs = "a durable event, its row", "a Celery task, sent to Redis"

    def publish() -> None:
        with transaction.atomic():
            bus.publish(InvoiceApproved())

    def send() -> None:
        with transaction.atomic():
            transaction.on_commit(partial(delay, InvoiceApproved().to_dict(), HANDLER))

    # No wake-up: without one, the relay finds the row.
    with patch.object(CeleryTransport, "post", lambda _self, _messages: ()):
        times = measure({ours: publish, theirs: send})
    return [compare(times, "durable", ours, theirs, 0.5)]
