"""Prévenir le relais : après le commit, et seulement une base qui le sait faire."""

import logging
import threading

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from src.share_kernel.infrastructure.outbox import enrolment
from src.share_kernel.infrastructure.outbox.waking import Listener
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.mailbox import Mailbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Les bases dont le relais serait prévenu."""
    aliases: list[str] = []
    monkeypatch.setattr(enrolment, "notify", aliases.append)
    subscribe_async(OrderPlaced, lambda event: None, name="h")
    return aliases


def test_the_relay_is_told_once_the_transaction_has_committed(notified: list[str]) -> None:
    with transaction.atomic():
        publish_event(OrderPlaced())
        assert notified == []

    assert notified == ["default"]


def test_the_relay_is_not_told_of_what_is_rolled_back(notified: list[str]) -> None:
    with transaction.atomic():
        publish_event(OrderPlaced())
        transaction.set_rollback(True)

    assert notified == []


def test_the_relay_is_not_told_of_what_a_worker_is_woken_for(
    notified: list[str], mailbox: Mailbox
) -> None:
    publish_event(OrderPlaced())

    assert notified == []
    assert len(mailbox.take()) == 1


def test_a_database_that_cannot_notify_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    subscribe_async(OrderPlaced, lambda event: None, name="h")

    with caplog.at_level(logging.INFO), CaptureQueriesContext(connection) as queries:
        publish_event(OrderPlaced())

    assert [query["sql"] for query in queries if "NOTIFY" in query["sql"]] == []
    assert caplog.records == []


def test_a_listener_to_such_a_database_waits_for_its_turn() -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return True

    listener = Listener("default")
    listener.wait(7, Stop())
    listener.close()

    assert waits == [7]
