"""Sans EVENT_BUS, ce que valent les réglages ; et les délais, à leur borne."""

import json
import logging
import random
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventChainTooDeepError,
    EventDefinitionError,
    register_event,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.infrastructure.logs import EventContextFilter
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPlaced

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_settings(settings: Any) -> None:
    del settings.EVENT_BUS


def fail(event: DomainEvent) -> None:
    raise ValueError("no paper left")


def overdue(**values: Any) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.update(**({"start_after": past, "send_after": past} | values))


def test_a_given_up_event_is_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    subscribe_async(OrderPlaced, fail)
    event = OrderPlaced(order_id="é-7")

    publish_event(event)

    text = caplog.text.partition("Event: ")[2].partition("\n")[0]
    assert json.loads(text) == event.to_dict()


def test_a_chain_holds_thirty_two_events() -> None:
    published: list[DomainEvent] = []

    def again(event: OrderPlaced) -> None:
        published.append(event)
        publish_event(OrderPlaced())

    subscribe_sync(OrderPlaced, again)

    with pytest.raises(EventChainTooDeepError, match="a chain of 33 events"):
        publish_event(OrderPlaced())

    assert len(published) == 32


@pytest.mark.usefixtures("outbox")
class TestDelays:
    @pytest.fixture(autouse=True)
    def _longest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Le tirage donne toujours la borne."""
        monkeypatch.setattr(random, "uniform", lambda low, high: high)

    @pytest.mark.parametrize(("attempts", "seconds"), [(1, 2), (2, 4), (5, 32), (7, 128)])
    def test_double_at_each_attempt(
        self, attempts: int, seconds: float, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscribe_async(OrderPlaced, fail)
        publish_event(OrderPlaced())
        overdue(attempts=attempts - 1)

        relay(execute=True)

        assert f"(attempt {attempts} of 8), retry in {seconds:.1f} s" in caplog.text

    def test_stop_at_a_quarter_of_an_hour(self, caplog: pytest.LogCaptureFixture) -> None:
        subscribe_async(OrderPlaced, fail, max_attempts=100)
        publish_event(OrderPlaced())
        overdue(attempts=50)

        relay(execute=True)

        assert "retry in 900.0 s" in caplog.text

    def test_eight_attempts_are_allowed(self) -> None:
        subscribe_async(OrderPlaced, fail)
        publish_event(OrderPlaced())

        for attempts, state in ((6, "pending"), (7, "dead")):
            overdue(attempts=attempts)
            relay(execute=True)
            assert Delivery.objects.get().state == state

    @pytest.mark.parametrize(("hours", "state"), [(23, "pending"), (25, "dead")])
    def test_a_deployment_has_a_day(self, hours: int, state: str) -> None:
        subscribe_async(OrderPlaced, fail)
        publish_event(OrderPlaced())
        unsubscribe(OrderPlaced, fail)
        relay(execute=True)  # it waits from now on, whatever its age
        overdue(pending_since=timezone.now() - timedelta(hours=hours))

        relay(execute=True)

        assert Delivery.objects.get().state == state


@pytest.mark.usefixtures("outbox")
def test_delays_are_spread_so_that_a_herd_does_not_come_back_as_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscribe_async(OrderPlaced, fail)
    for _ in range(12):
        publish_event(OrderPlaced())
    overdue(attempts=6)

    relay(execute=True)

    delays = [float(found) for found in re.findall(r"retry in ([\d.]+) s", caplog.text)]
    assert len(set(delays)) > 6
    assert min(delays) < max(delays) <= 128


def test_the_filter_of_the_log_lets_every_line_pass() -> None:
    assert EventContextFilter().filter(logging.makeLogRecord({})) is True


@pytest.mark.parametrize(("length", "accepted"), [(200, True), (201, False)])
def test_the_name_of_an_event_fits_its_column(length: int, accepted: bool) -> None:
    @dataclass(frozen=True)
    class Named(DomainEvent):
        event_type = "tests." + "x" * (length - 6)

    if accepted:
        assert register_event(Named) is Named
    else:
        with pytest.raises(EventDefinitionError, match="at most 200 characters"):
            register_event(Named)
