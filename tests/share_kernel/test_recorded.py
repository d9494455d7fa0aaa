"""Ce que la version 0.1.0 a écrit, messages et lignes, est livré par le code d’aujourd’hui.

``recorded/README.md`` dit comment ces enregistrements ont été pris.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from celery.worker.request import Request
from django.utils import timezone

from src.share_kernel.domain.domain_event import DomainEvent, register_event
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.conftest import MemoryBroker
from tests.share_kernel.one_row import deliver_row

Take = Callable[[str], list[Any]]
Receive = Callable[[str], None]

pytestmark = pytest.mark.django_db(transaction=True)

RECORDED = Path(__file__).parent / "recorded"
DATES = ("created_at", "pending_since", "start_after", "send_after", "settled_at")


@dataclass(frozen=True)
class Line:
    label: str
    price: Decimal
    tags: tuple[str, ...] = ()


@register_event
@dataclass(frozen=True)
class OrderPlaced(DomainEvent):
    event_type = "recorded.order_placed"

    order_id: str
    placed_on: date = date(2026, 2, 28)
    lines: list[Line] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


@register_event
@dataclass(frozen=True)
class OrderPaid(DomainEvent):
    event_type = "recorded.order_paid"

    order_id: str


@register_event
@dataclass(frozen=True)
class AddressChanged(DomainEvent):
    """La version 1, celle des enregistrements, avait un seul champ ``address``."""

    event_type = "recorded.address_changed"
    event_version = 2

    customer_id: str
    number: int
    street: str

    @classmethod
    def upcast(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        number, street = data.pop("address").split(" ", 1)
        return data | {"number": int(number), "street": street}


@pytest.fixture
def shipped() -> list[Any]:
    received: list[Any] = []
    subscribe_async(OrderPlaced, received.append, name="recorded.ship")
    return received


@pytest.fixture
def billed() -> list[Any]:
    received: list[Any] = []
    subscribe_async(OrderPaid, received.append, name="recorded.bill")
    return received


def fail(event: DomainEvent) -> None:
    raise ValueError("still no paper")


def load(folder: str, name: str) -> Any:
    return json.loads((RECORDED / folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def queues(memory_broker: MemoryBroker) -> Take:
    return memory_broker.take


@pytest.fixture
def receive(memory_broker: MemoryBroker) -> Receive:
    """Remet un message enregistré dans sa file, puis l’exécute comme le ferait un worker."""

    def deliver(name: str) -> None:
        recorded = load("messages", name)
        with memory_broker.app.connection_for_write() as connection:
            connection.Producer().publish(
                json.dumps(recorded["body"]),
                exchange="",
                routing_key=recorded["queue"],
                headers=recorded["headers"],
                content_type=recorded["content_type"],
                content_encoding=recorded["content_encoding"],
                **recorded["properties"],
            )
        (message,) = memory_broker.take(recorded["queue"])
        Request(message, app=memory_broker.app).execute()

    return deliver


def payload_of(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = load("messages", name)["body"][0][0]
    return payload


def counts(messages: list[Any]) -> list[tuple[Any, ...]]:
    """Renvoie, de chaque message d’un handler : son nom, ses échecs, ses recherches vaines."""
    tasks = {message.headers["task"] for message in messages}
    assert tasks <= {"share_kernel.dispatch_async_event"}
    return [
        (
            message.payload[0][1],
            message.headers["retries"],
            message.headers["share_kernel_skews"],
        )
        for message in messages
    ]


def insert(name: str) -> list[dict[str, Any]]:
    """Insère des lignes enregistrées, comme si elles venaient d’être écrites."""
    recorded = load("rows", name)
    age = timezone.now() - datetime.fromisoformat(recorded["recorded_at"])
    for row in recorded["rows"]:
        dates = {key: row[key] and datetime.fromisoformat(row[key]) + age for key in DATES}
        Delivery.objects.create(**row | dates)
    rows: list[dict[str, Any]] = recorded["rows"]
    return rows


def only() -> Delivery:
    return Delivery.objects.get()


def start_in(seconds: float) -> None:
    when = timezone.now() + timedelta(seconds=seconds)
    Delivery.objects.update(start_after=when, send_after=when)


entered: list[str] = []


@contextmanager
def tenant_schema(tenant_id: str) -> Iterator[None]:
    entered.append(tenant_id)
    yield


class TestMessageOfOneEvent:
    @pytest.mark.parametrize(
        ("name", "order_id"),
        [
            ("first-send", "first"),
            ("sent-again-after-a-failure", "fails"),
            ("sent-again-after-a-look-up", "early"),
        ],
    )
    def test_the_handler_receives_the_event(
        self, receive: Receive, queues: Take, shipped: list[Any], name: str, order_id: str
    ) -> None:
        receive(name)

        (event,) = shipped
        assert event.to_dict() == payload_of(name)
        assert event.order_id == order_id
        assert queues("recorded") == []

    def test_the_tenant_is_entered(
        self, receive: Receive, shipped: list[Any], settings: Any
    ) -> None:
        settings.EVENT_BUS = {"TENANT_CONTEXT": f"{__name__}.tenant_schema"}
        entered.clear()

        receive("tenant")

        assert [event.tenant_id for event in shipped] == entered == ["acme"]

    @pytest.mark.usefixtures("outbox", "shipped")
    def test_the_chain_of_causes_goes_on(self, receive: Receive) -> None:
        subscribe_async(
            OrderPaid, lambda event: publish_event(OrderPlaced(order_id="2")), name="recorded.bill"
        )

        receive("caused-by-another")

        row, cause = Delivery.objects.get(), payload_of("caused-by-another")
        assert row.depth == 2
        assert json.loads(row.payload)["causation_id"] == cause["event_id"]
        assert json.loads(row.payload)["correlation_id"] == cause["causation_id"]

    def test_a_failure_is_counted_after_those_of_before(
        self, receive: Receive, queues: Take
    ) -> None:
        subscribe_async(OrderPlaced, fail, name="recorded.ship")

        receive("sent-again-after-a-failure")

        assert counts(queues("recorded")) == [("recorded.ship", 2, 0)]

    def test_the_last_failure_gives_up(
        self, receive: Receive, queues: Take, caplog: pytest.LogCaptureFixture
    ) -> None:
        subscribe_async(OrderPlaced, fail, name="recorded.ship", max_attempts=2)

        receive("sent-again-after-a-failure")

        assert queues("recorded") == []
        assert "Gave up on handler recorded.ship for event recorded.order_placed" in caplog.text

    def test_a_look_up_is_counted_after_those_of_before(
        self, receive: Receive, queues: Take
    ) -> None:
        receive("sent-again-after-a-look-up")

        assert counts(queues("recorded")) == [("recorded.ship", 0, 2)]


class TestMessageOfABatch:
    def test_the_handlers_receive_their_events_in_order(
        self, receive: Receive, queues: Take, billed: list[Any]
    ) -> None:
        printed: list[Any] = []
        subscribe_async(OrderPlaced, printed.append, name="recorded.print")

        receive("batch")
        receive("batch-of-another-queue")

        assert [event.order_id for event in billed] == ["p-1", "p-3"]
        assert [event.order_id for event in printed] == ["o-2"]
        assert queues("recorded") == queues("recorded-printing") == []

    def test_what_fails_leaves_again_alone_in_its_queue(
        self, receive: Receive, queues: Take
    ) -> None:
        subscribe_async(OrderPlaced, fail, name="recorded.print")

        receive("batch-of-another-queue")

        assert counts(queues("recorded-printing")) == [("recorded.print", 1, 0)]


class TestWakeUp:
    @pytest.mark.parametrize(
        ("message", "rows", "order_ids"),
        [
            ("wake-up", "new-and-woken", ["awake"]),
            ("wake-up-of-many", "published-together-and-woken", ["1", "2", "3"]),
        ],
    )
    def test_delivers_its_rows(
        self, receive: Receive, shipped: list[Any], message: str, rows: str, order_ids: list[str]
    ) -> None:
        insert(rows)

        receive(message)

        assert [event.order_id for event in shipped] == order_ids
        assert set(Delivery.objects.values_list("state", "attempts")) == {("done", 1)}


class TestRow:
    @pytest.mark.parametrize(
        "name", ["new-without-a-broker", "new-and-woken", "published-together", "nested"]
    )
    def test_a_new_one_is_delivered(self, shipped: list[Any], name: str) -> None:
        recorded = insert(name)

        assert relay(execute=True) == len(recorded)

        assert shipped == [DomainEvent.from_dict(json.loads(row["payload"])) for row in recorded]
        assert set(Delivery.objects.values_list("state", "attempts", "error")) == {("done", 1, "")}
        assert relay(execute=True) == 0

    def test_what_is_nested_comes_back_in_its_types(self, shipped: list[Any]) -> None:
        insert("nested")

        relay(execute=True)

        assert shipped[0].order_id == "é 🎉 \u2028"
        assert shipped[0].placed_on == date(2026, 2, 28)
        assert shipped[0].lines == [
            Line("crayon ✏️", Decimal("1.50"), ("neuf", "☃")),
            Line("gomme", Decimal("0.30")),
        ]
        assert shipped[0].notes == {"🎁": 'ruban "rouge"', "nul": "\0"}

    def test_an_older_version_is_upcast(self) -> None:
        moved: list[Any] = []
        subscribe_async(AddressChanged, moved.append, name="recorded.move")
        insert("older-version")

        relay(execute=True)

        assert (moved[0].number, moved[0].street) == (12, "rue des Lilas")
        assert only().state == "done"

    @pytest.mark.usefixtures("outbox", "shipped")
    def test_the_chain_of_causes_goes_on(self) -> None:
        subscribe_async(
            OrderPaid, lambda event: publish_event(OrderPlaced(order_id="2")), name="recorded.bill"
        )
        (cause,) = insert("caused-by-another")

        relay(execute=True)

        row = Delivery.objects.get(handler="recorded.ship")
        assert row.depth == 2
        assert json.loads(row.payload)["causation_id"] == cause["event_id"]

    @pytest.mark.parametrize(
        ("name", "attempts"),
        [
            ("failed-twice", 2),
            ("claimed-by-a-killed-worker", 1),
            ("waiting-for-a-deployment", 0),
        ],
    )
    def test_one_that_waits_is_delivered_in_its_time(
        self, shipped: list[Any], name: str, attempts: int
    ) -> None:
        insert(name)
        start_in(seconds=60)

        assert relay(execute=True) == 0
        assert deliver_row(only().pk, "default") is False
        assert (shipped, only().attempts) == ([], attempts)

        start_in(seconds=-1)
        assert relay(execute=True) == 1
        assert len(shipped) == 1
        assert (only().state, only().attempts, only().error) == ("done", attempts + 1, "")

    def test_failures_go_on_counting(self, caplog: pytest.LogCaptureFixture) -> None:
        subscribe_async(OrderPlaced, fail, name="recorded.ship", max_attempts=4)
        insert("failed-twice")

        for state in ("pending", "dead"):
            start_in(seconds=-1)
            relay(execute=True)
            assert only().state == state

        assert (only().attempts, only().error) == (4, "ValueError: still no paper")
        assert "Gave up on handler recorded.ship for event recorded.order_placed" in caplog.text

    def test_a_process_lost_too_often_is_given_up(self) -> None:
        """L’essai que le worker tué a laissé est le seul permis."""
        subscribe_async(OrderPlaced, fail, name="recorded.ship", max_attempts=1)
        insert("claimed-by-a-killed-worker")
        start_in(seconds=-1)

        relay(execute=True)

        assert only().state == "dead"
        assert "its process was lost" in only().error

    def test_one_that_still_waits_for_a_deployment_uses_nothing_up(self) -> None:
        insert("waiting-for-a-deployment")
        start_in(seconds=-1)

        relay(execute=True)

        assert (only().state, only().attempts) == ("pending", 0)
        assert "is named 'recorded.ship'" in only().error
        assert only().start_after > timezone.now() + timedelta(minutes=5)

    @pytest.mark.parametrize("name", ["done", "dead", "dead-after-eight-attempts"])
    def test_a_settled_one_is_left_as_it_is(self, shipped: list[Any], name: str) -> None:
        insert(name)
        before = Delivery.objects.values().get()

        assert relay(execute=True) == 0
        assert deliver_row(only().pk, "default") is False

        assert shipped == []
        assert Delivery.objects.values().get() == before
