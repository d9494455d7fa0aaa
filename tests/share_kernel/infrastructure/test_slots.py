"""Deux prises, jamais une : avant le commit le registre, après lui un transport."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from src.share_kernel.infrastructure import dispatch
from src.share_kernel.infrastructure.dispatch import Message, Transport, Unsent
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
)
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPlaced

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.django_db(transaction=True)


class Pigeon:
    """Un autre transport que Celery : ce fichier est tout ce qu’il demande."""

    def __init__(self, *, ready: bool = True, loses: bool = False) -> None:
        self.ready, self.loses = ready, loses
        self.posted: list[Message] = []

    def is_configured(self) -> bool:
        return True

    def is_ready(self, planned_at: float = math.inf) -> bool:
        return self.ready

    def post(self, messages: Iterable[Message]) -> list[Unsent]:
        messages = list(messages)
        self.posted += messages
        return [Unsent(item, None) for item in messages[0].content] if self.loses else []


@pytest.fixture
def seen() -> list[Any]:
    received: list[Any] = []
    subscribe_async(OrderPlaced, received.append, name="seen", queue="far")
    return received


def test_another_transport_carries_the_handlers(seen: list[Any]) -> None:
    pigeon = Pigeon()
    dispatch.send_with(pigeon)
    event = OrderPlaced()

    publish_event(event)

    (message,) = pigeon.posted
    assert message.task == "share_kernel.dispatch_async_event"
    assert message.args == (event.to_dict(), "seen", 0, "default")
    assert message.queue == "far"
    assert seen == []


class Breaking(Pigeon):
    """Un transport qui ne tient pas sa promesse de ne rien lever."""

    def __init__(self, method: str, error: type[BaseException] = ValueError) -> None:
        super().__init__()
        self.error = error
        setattr(self, method, self.fail)

    def fail(self, *_: Any) -> Any:
        raise self.error("no pigeon left")


@pytest.mark.parametrize("method", ["is_ready", "post"])
def test_a_transport_that_raises_loses_nothing(
    method: str, seen: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    dispatch.send_with(Breaking(method))
    event = OrderPlaced()

    publish_event(event)

    assert seen == [event]
    assert "no pigeon left" in caplog.text
    assert str(event.event_id) in caplog.text


READY: list[tuple[str, Callable[[Transport], bool]]] = [
    ("is_ready", lambda transport: transport.is_ready()),
    ("is_configured", lambda transport: transport.is_configured()),
]


@pytest.mark.parametrize(("method", "question"), READY)
class TestAskingATransport:
    def test_it_answers(self, method: str, question: Callable[[Transport], bool]) -> None:
        yes, no = Pigeon(), Pigeon(ready=False)
        no.is_configured = lambda: False  # type: ignore[method-assign]

        for transport, answer in ((yes, yes), (no, None), (None, None)):
            dispatch.send_with(transport)
            assert dispatch.transport_if(question, "a turn") is answer

    def test_one_that_raises_says_no_and_is_named_in_the_log(
        self, method: str, question: Callable[[Transport], bool], caplog: pytest.LogCaptureFixture
    ) -> None:
        dispatch.send_with(Breaking(method))

        assert dispatch.transport_if(question, "a turn") is None
        assert "The transport failed on a turn" in caplog.text
        assert "no pigeon left" in caplog.text

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_a_request_to_stop_goes_up(
        self,
        method: str,
        question: Callable[[Transport], bool],
        error: type[BaseException],
    ) -> None:
        dispatch.send_with(Breaking(method, error))

        with pytest.raises(error):
            dispatch.transport_if(question, "a turn")


def test_what_did_not_leave_runs_here(seen: list[Any]) -> None:
    dispatch.send_with(Pigeon(loses=True))

    publish_event(OrderPlaced())

    assert len(seen) == 1


@pytest.mark.parametrize("transport", [None, Pigeon(ready=False)], ids=["none", "not ready"])
def test_without_a_transport_handlers_run_here(seen: list[Any], transport: Any) -> None:
    dispatch.send_with(transport)

    publish_event(OrderPlaced())

    assert len(seen) == 1


@pytest.mark.usefixtures("outbox")
class TestWithTheRegister:
    def test_the_transport_wakes_a_worker_for_rows(self, seen: list[Any]) -> None:
        pigeon = Pigeon()
        dispatch.send_with(pigeon)

        publish_event(OrderPlaced())

        (message,) = pigeon.posted
        row = Delivery.objects.get()
        assert (message.task, message.args) == ("share_kernel.deliver", ([str(row.pk)], "default"))
        assert (message.queue, row.sends) == ("far", 1)
        assert seen == []

    def test_rows_published_together_share_messages(self, seen: list[Any]) -> None:
        pigeon = Pigeon()
        dispatch.send_with(pigeon)

        publish_events([OrderPlaced() for _ in range(250)])

        assert [len(message.content) for message in pigeon.posted] == [100, 100, 50]

    def test_a_transport_that_loses_leaves_the_row_to_the_relay(self, seen: list[Any]) -> None:
        pigeon = Pigeon(loses=True)
        dispatch.send_with(pigeon)
        publish_event(OrderPlaced())
        Delivery.objects.update(send_after="2000-01-01T00:00:00Z", sends=0)

        assert relay() == 0
        assert Delivery.objects.get().sends == 0  # nothing is on its way
        pigeon.loses = False
        assert relay() == 1

    @pytest.mark.parametrize("method", ["is_ready", "post"])
    def test_a_transport_that_raises_leaves_the_row_to_the_relay(
        self, method: str, seen: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        pigeon = Pigeon()
        dispatch.send_with(pigeon)
        publish_event(OrderPlaced())
        Delivery.objects.update(send_after="2000-01-01T00:00:00Z", sends=0)
        dispatch.send_with(Breaking(method))

        assert relay() == 0
        assert "The transport failed on the relay of default" in caplog.text
        assert Delivery.objects.get().sends == 0  # nothing is on its way
        dispatch.send_with(pigeon)
        assert relay() == 1

    def test_a_transport_that_raises_at_publication_stops_nothing(
        self, seen: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        dispatch.send_with(Breaking("post"))
        event = OrderPlaced()

        publish_event(event)

        assert f"The transport failed on shop.order_placed {event.event_id}" in caplog.text
        assert Delivery.objects.get().state == "pending"

    def test_a_relay_whose_transport_cannot_answer_says_so(self) -> None:
        dispatch.send_with(Breaking("is_configured"))

        with pytest.raises(CommandError, match="nobody to wake up"):
            call_command("relay_events", "--once")


BOTH = ("src.share_kernel", "src.share_kernel.infrastructure.outbox")


@pytest.mark.parametrize("order", [BOTH, BOTH[::-1]], ids=["kernel first", "register first"])
def test_the_order_of_the_applications_changes_nothing(order: tuple[str, ...]) -> None:
    code = f"""
import django
from django.conf import settings
settings.configure(INSTALLED_APPS={list(order)!r}, DATABASES={{}}, USE_TZ=True)
django.setup()
from src.share_kernel.infrastructure.dispatch import slots
print(slots.enrol.__module__, type(slots.transport).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == "src.share_kernel.infrastructure.outbox.enrolment CeleryTransport\n"
