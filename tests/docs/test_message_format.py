"""La page du format des messages dit ce qui part vraiment, ni plus ni moins."""

import base64
import inspect
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import current_app
from celery.exceptions import Retry
from django.db import transaction
from msgspec import inspect as types
from sybil import Document

from conftest import python_blocks
from src.share_kernel.domain import declaration
from src.share_kernel.domain.domain_event import DomainEvent, DomainEventError, PayloadError
from src.share_kernel.domain.payload import travelling
from src.share_kernel.infrastructure import broker, handling
from src.share_kernel.infrastructure.event_bus import publish_event, publish_events
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.tasks import deliver
from src.share_kernel.infrastructure.tasks import dispatch_async_batch, dispatch_async_event
from src.share_kernel.testing import isolated_bus

from .pages import DOCS, ROOT, fenced

PAGE = DOCS / "reference" / "format-des-messages.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUEUE = "printing"

pytestmark = pytest.mark.django_db(transaction=True)


def section(title: str) -> str:
    """Renvoie une section de la page, jusqu’au titre suivant."""
    found = re.search(rf"^#+ {title}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> dict[str, str]:
    """Renvoie ce que dit une section de chaque nom, dans un tableau ou une liste de définitions."""
    found = re.findall(r"^(?:\| )?(`.*?`)(?: \||\n:) (.*)", section(title), re.MULTILINE)
    return {name: rest for names, rest in found for name in re.findall(r"`([^`]+)`", names)}


def keys(title: str) -> set[str]:
    return set(rows(title))


def required(title: str) -> set[str]:
    return {name for name, rest in rows(title).items() if "obligatoire" in rest}


def shown(title: str) -> Any:
    """Renvoie l’exemple JSON d’une section."""
    (block,) = fenced(section(title), "json")
    return json.loads(block)


@pytest.fixture
def page(_bus: None) -> Iterator[ModuleType]:
    """La page, une fois ses extraits exécutés."""
    module = ModuleType("page_of_messages")
    sys.modules[module.__name__] = module
    for region in python_blocks(Document(TEXT, str(PAGE))):
        exec(region.parsed.code, module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture
def sent() -> Iterator[Callable[[], dict[str, Any]]]:
    """Un broker en mémoire, et de quoi y prendre le message suivant, tel qu’il y est."""
    before = current_app.conf.broker_url
    current_app.conf.update(broker_url="memory://localhost")
    with isolated_bus(celery=True), current_app.connection_for_read() as connection:
        assert broker.is_available()
        channel: Any = connection.default_channel
        channel.queue_declare(QUEUE)
        channel.queue_purge(QUEUE)
        yield lambda: channel._get(QUEUE)
    current_app.conf.update(broker_url=before)
    assert not broker.is_available()


def body(message: dict[str, Any]) -> Any:
    assert message["properties"]["body_encoding"] == "base64"
    return json.loads(base64.b64decode(message["body"]))


def sent_for(page: ModuleType, sent: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    with transaction.atomic():
        publish_event(page.event)
    return sent()


class TestPayload:
    def test_the_page_names_every_key_and_no_other(self, page: ModuleType) -> None:
        declared = {"seat", "price"}

        assert keys("Charge utile") == page.event.to_dict().keys() - declared

    def test_the_page_says_which_keys_may_be_absent(self, page: ModuleType) -> None:
        refused = set()
        for name in keys("Charge utile"):
            data = {key: value for key, value in page.event.to_dict().items() if key != name}
            try:
                DomainEvent.from_dict(data)
            except DomainEventError:
                refused.add(name)

        assert refused == required("Charge utile")

    def test_every_type_that_travels_is_shown(self, page: ModuleType) -> None:
        record: Any = types.type_info(page.TypesShown)
        shown_kinds = {type(field.type) for field in record.fields}
        travelling = {
            *declaration._ATOMS,
            *declaration._SEQUENCES,
            *declaration._RECORDS,
            types.TupleType,
            types.DictType,
        }

        assert travelling <= shown_kinds

    @pytest.mark.parametrize(
        ("name", "value", "is_read"),
        [
            ("a_float", 1, True),
            ("an_int", "1", False),
            ("a_decimal", 1.5, True),
            ("a_decimal", 15, True),
            ("a_timedelta", "PT1H30M", True),
            ("a_timedelta", "P1W", False),
            ("a_timedelta", "P1Y", False),
            ("a_bytes", "AP8", False),
            ("a_set", [7, 7], True),
            ("an_enum", "ECONOMY", False),
            ("a_dataclass", {"code": "Y", "miles": 1, "new": 2}, True),
            ("a_typeddict", {"dish": "soup", "new": 2}, True),
            ("a_date", "2026-01-05T00:00:00.1", False),
        ],
    )
    def test_what_is_read_is_what_the_page_says(
        self, page: ModuleType, name: str, value: Any, is_read: bool
    ) -> None:
        data = {**page.TypesShown().to_dict(), name: value}
        if is_read:
            DomainEvent.from_dict(data)
        else:
            with pytest.raises(ValueError, match=name):
                DomainEvent.from_dict(data)

    def test_not_a_number_is_refused_when_publishing(self, page: ModuleType) -> None:
        with pytest.raises(PayloadError, match="a_decimal"):
            travelling(page.TypesShown(a_decimal=Decimal("NaN")))

    def test_an_integer_has_4300_digits_at_most(self, page: ModuleType) -> None:
        travelling(page.TypesShown(an_int=10**4299))
        with pytest.raises(PayloadError, match="an_int"):
            travelling(page.TypesShown(an_int=10**4300))


class TestEnvelope:
    def test_the_page_names_every_key_and_no_other(
        self, page: ModuleType, sent: Callable[[], dict[str, Any]]
    ) -> None:
        message = sent_for(page, sent)

        assert message.keys() == keys("Enveloppe")
        assert message["content-type"] == "application/json"
        assert message["content-encoding"] == "utf-8"
        assert message["properties"]["delivery_mode"] == 2
        assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE}

    def test_the_headers_are_those_of_the_example(
        self, page: ModuleType, sent: Callable[[], dict[str, Any]]
    ) -> None:
        headers, example = sent_for(page, sent)["headers"], shown("En-têtes")

        assert uuid.UUID(headers["id"]).version == uuid.UUID(example["id"]).version == 4
        assert headers["root_id"] == headers["id"]
        assert example["root_id"] == example["id"]
        volatile = {name: headers[name] for name in ("id", "root_id", "origin")}
        assert headers == example | volatile

    def test_the_page_names_every_header_and_no_other(
        self, page: ModuleType, sent: Callable[[], dict[str, Any]]
    ) -> None:
        headers = sent_for(page, sent)["headers"]

        assert keys("En-têtes") == headers.keys() | {"share_kernel_skews"}

    def test_the_headers_show_no_value_of_a_field(
        self, page: ModuleType, sent: Callable[[], dict[str, Any]]
    ) -> None:
        message = sent_for(page, sent)
        outside = json.dumps([message["headers"], message["properties"]])

        assert page.event.event_type in outside
        for value in ("12A", "49.90", "acme"):
            assert value not in outside


class TestTasks:
    @pytest.mark.parametrize("task", [dispatch_async_event, dispatch_async_batch, deliver])
    def test_the_arguments_are_those_of_the_code(self, task: Any) -> None:
        title = task.name.rpartition(".")[2]
        signature = inspect.signature(task.run).parameters

        assert list(rows(title)) == list(signature)
        assert required(title) == {
            name for name, item in signature.items() if item.default is item.empty
        }

    def test_one_event_for_one_handler(
        self, page: ModuleType, sent: Callable[[], dict[str, Any]]
    ) -> None:
        message = sent_for(page, sent)

        assert message["headers"]["task"] == "share_kernel.dispatch_async_event"
        assert body(message) == shown("dispatch_async_event")

    def test_a_batch(self, page: ModuleType, sent: Callable[[], dict[str, Any]]) -> None:
        other = page.SeatBooked(seat="12B", price=page.Decimal("49.90"))
        with transaction.atomic():
            publish_events([page.event, other])
        message = sent()

        assert message["headers"]["task"] == "share_kernel.dispatch_async_batch"
        (items, using), kwargs, embed = body(message)
        assert [[items[:1], using], kwargs, embed] == shown("dispatch_async_batch")
        assert items[1].keys() == items[0].keys()
        assert list(items[0]) == list(rows("dispatch_async_event"))[:3]

    @pytest.mark.usefixtures("outbox")
    def test_a_wake_up(self, page: ModuleType, sent: Callable[[], dict[str, Any]]) -> None:
        message = sent_for(page, sent)

        assert message["headers"]["task"] == "share_kernel.deliver"
        row = Delivery.objects.get()
        example = shown("deliver")
        assert re.fullmatch(r"[0-9a-f-]{36}", example[0][0][0])
        example[0][0] = [str(row.pk)]
        assert body(message) == example
        assert json.loads(row.payload) == page.event.to_dict()

    def test_a_retry(self, page: ModuleType, sent: Callable[[], dict[str, Any]]) -> None:
        first = sent_for(page, sent)
        arguments = body(first)[0]
        arguments[1] = "booking.nobody"
        dispatch_async_event.push_request(
            id=first["headers"]["id"],
            called_directly=False,
            delivery_info={"exchange": "", "routing_key": QUEUE},
        )
        with pytest.raises(Retry):
            dispatch_async_event.run(*arguments)
        dispatch_async_event.pop_request()
        again = sent()

        assert again["headers"].keys() == first["headers"].keys() | {"share_kernel_skews"}
        assert again["headers"]["id"] == first["headers"]["id"]
        assert again["headers"]["share_kernel_skews"] == 1
        assert again["headers"]["retries"] == 0
        assert again["headers"]["eta"]
        assert body(again)[0] == arguments


class TestCompatibility:
    """Ce que fait un *worker* d’un message que son code n’aurait pas écrit."""

    @pytest.mark.parametrize(
        ("payload", "fate"),
        [
            ({"unknown": 1}, "runs"),
            ({"tenant_id": ...}, "runs"),
            ({"event_version": ...}, "runs"),
            ({"event_version": 2}, "waits"),
            ({"event_type": "booking.seat_freed"}, "waits"),
            ({"price": ...}, "waits"),
            ({"price": "a lot"}, "waits"),
            ({"event_type": ...}, "gives up"),
            ({"event_type": "Seat booked"}, "gives up"),
            ({"event_id": ...}, "gives up"),
            ({"event_id": "12"}, "gives up"),
            ({"event_version": "1"}, "gives up"),
        ],
    )
    def test_another_payload(self, page: ModuleType, payload: dict[str, Any], fate: str) -> None:
        data = page.event.to_dict() | payload

        assert fate_of({key: data[key] for key in data if data[key] is not ...}) == fate

    @pytest.mark.parametrize(
        ("arguments", "fate"),
        [
            (("booking.print_badge", 0, "default"), "waits"),
            ((None, 0, "default"), "gives up"),
            (("booking.print_ticket", "0", "default"), "gives up"),
            (("booking.print_ticket", 0, "elsewhere"), "gives up"),
        ],
    )
    def test_other_arguments(
        self, page: ModuleType, arguments: tuple[object, ...], fate: str
    ) -> None:
        assert fate_of(page.event.to_dict(), *arguments) == fate

    @pytest.mark.usefixtures("page")
    @pytest.mark.parametrize("payload", [None, [], "booking.seat_booked"])
    def test_a_payload_that_is_no_object(self, payload: object) -> None:
        assert fate_of(payload) == "gives up"


def fate_of(
    payload: object, handler: object = "booking.print_ticket", depth: object = 0,
    using: object = "default",
) -> str:  # fmt: skip
    verdict = handling.attempt(payload, handler, depth, using)
    if verdict.error is None:
        return "runs"
    if verdict.delay is None:
        return "gives up"
    assert verdict.waiting
    assert verdict.delay == pytest.approx(handling.SKEW_DELAY, rel=0.21)
    assert handling.SKEW_DELAY * handling.SKEW_ATTEMPTS == 86400
    return "waits"


WORKER = """
import base64, json, sys, threading
import django
django.setup()
from celery import current_app
from celery.contrib.testing.worker import start_worker

given, printed = json.load(sys.stdin), threading.Event()
sys.modules["page"] = page = type(sys)("page")
for block in given["blocks"]:
    exec(block, page.__dict__)
page.print = lambda *words: (print("worker:", *words), printed.set())
with current_app.connection_for_write() as connection:
    channel = connection.default_channel
    queue = given["message"]["properties"]["delivery_info"]["routing_key"]
    channel.queue_declare(queue)
    # As it is, without kombu’s publisher, which would add what the page forgets.
    channel._put(queue, given["message"] | {
        "body": base64.b64encode(json.dumps(given["message"]["body"]).encode()).decode()
    })
with start_worker(current_app, pool="solo", perform_ping_check=False, queues=[queue]):
    printed.wait(20)
"""


def test_a_worker_runs_the_message_that_the_page_writes_by_hand(tmp_path: Path) -> None:
    blocks = [region.parsed.code for region in python_blocks(Document(TEXT, str(PAGE)))]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "conf.settings",
        "BROKER_URL": "memory://localhost",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
    }

    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps({"blocks": blocks, "message": shown("Écrire depuis un autre langage")}),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert "worker: ticket for seat 12B" in done.stdout, done.stderr
