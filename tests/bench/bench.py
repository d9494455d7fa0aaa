"""Mesure le bus contre ce qui fait la même chose, en rapports, dans un seul processus.

Chaque tour exécute tous les cas dans un ordre tiré au hasard, ramasse-miettes arrêté.
Le rapport compare les minima : ce que la machine fait d’autre ne peut qu’ajouter du temps.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench.json"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "60"))
BATCH = 0.004  # seconds that one case takes in one round, about

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
WITH_REDIS = sys.argv[1:] == ["redis"]  # the second half, in a process of its own
FOLDER = tempfile.mkdtemp() if WITH_REDIS else ""

sys.path.insert(0, str(ROOT))
os.environ.update(
    DJANGO_SETTINGS_MODULE="conf.settings",
    DATABASE_URL=f"sqlite:///{FOLDER}/db.sqlite3" if WITH_REDIS else "sqlite://:memory:",
    BROKER_URL=REDIS_URL if WITH_REDIS else "memory://",
    OUTBOX="1" if WITH_REDIS else "0",
)

import django  # noqa: E402  (the environment comes first)
from celery import current_app  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

django.setup()

from django.dispatch import Signal  # noqa: E402

from src.share_kernel.domain.domain_event import DomainEvent, register_event  # noqa: E402
from src.share_kernel.infrastructure import broker, dispatch, tasks  # noqa: E402
from src.share_kernel.infrastructure.event_bus import EventBus  # noqa: E402

Case = Callable[[], object]


@register_event
@dataclass(frozen=True)
class InvoiceApproved(DomainEvent):
    """L’événement de la page de départ."""

    event_type = "bench.invoice_approved"

    invoice_id: str = ""
    total: float = 0.0


@register_event
@dataclass(frozen=True)
class Shipment(DomainEvent):
    """Un événement aux champs que Python seul convertit lentement."""

    event_type = "bench.shipment"

    order_id: UUID
    price: Decimal
    due: datetime
    carrier: str
    parcels: int


@dataclass(frozen=True, kw_only=True)
class PlainInvoice:
    """Les mêmes champs, sans le bus."""

    event_id: UUID = field(default_factory=uuid4)
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    occurred_at: datetime = field(default_factory=partial(datetime.now, UTC))
    tenant_id: str | None = None
    invoice_id: str = ""
    total: float = 0.0


@dataclass(frozen=True)
class Row:
    """Un rapport mesuré et la borne qu’il doit tenir."""

    what: str
    against: str
    ratio: float
    median_ratio: float
    target: float | None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.ratio <= self.target else f"missed by {self.ratio / self.target:.2f} ×"


def measure(cases: dict[str, Case], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Renvoie, par cas, le temps d’un appel à chaque tour, en secondes."""
    repeats = {name: _calibrate(case) for name, case in cases.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    gc.disable()
    try:
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                times[name].append(_time(cases[name], repeats[name]))
            gc.collect()
    finally:
        gc.enable()
    return times


def _calibrate(case: Case) -> int:
    case()
    once = _time(case, 1)
    return max(1, int(BATCH / max(_time(case, 10), 1e-9))) if once < BATCH else 1


def _time(case: Case, repeats: int) -> float:
    loop = range(repeats)
    began = time.perf_counter()
    for _ in loop:
        case()
    return (time.perf_counter() - began) / repeats


def compare(times: dict[str, list[float]], what: str, against: str, target: float | None) -> Row:
    """Compare deux cas d’une même mesure."""
    pairs = zip(times[what], times[against], strict=True)
    return Row(
        what,
        against,
        ratio=min(times[what]) / min(times[against]),
        median_ratio=statistics.median(mine / other for mine, other in pairs),
        target=target,
    )


def publishing() -> list[Row]:
    """Publier, contre une boucle nue et contre Signal.send."""
    rows, event = [], InvoiceApproved()
    none: dict[str, list[Case]] = {}

    def look_up(event: InvoiceApproved) -> None:
        handlers = none.get(event.event_type)
        if handlers is None:
            return

    for count, target in ((0, None), (1, 5.0), (10, 1.9), (100, 1.15)):
        handlers = [_make_handler() for _ in range(count)]
        bus, signal = EventBus(), Signal()
        for handler in handlers:
            bus.subscribe_sync(InvoiceApproved, handler)
            signal.connect(_receiver(), weak=False)

        def plain(event: InvoiceApproved, handlers: list[Any] = handlers) -> None:
            for handler in handlers:
                handler(event)

        ours = f"publish, {count} sync handlers"
        theirs = f"Signal.send, {count} receivers"
        times = measure(
            {
                ours: partial(bus.publish, event),
                theirs: partial(signal.send, None, event=event),
                "plain loop": partial(plain, event),
                "dict look-up in a function": partial(look_up, event),
            }
        )
        reference = "plain loop" if count else "dict look-up in a function"
        rows.append(compare(times, ours, reference, target if count else 1.5))
        rows.append(compare(times, theirs, reference, None))
    return rows


def _make_handler() -> Callable[[Any], None]:
    def handler(event: Any) -> None: ...

    return handler


def _receiver() -> Callable[..., None]:
    def receiver(sender: Any, **named: Any) -> None: ...

    return receiver


def building() -> list[Row]:
    """Construire un événement, contre une dataclass gelée de mêmes champs."""
    ours, theirs = "building an event", "a plain frozen dataclass"
    times = measure(
        {
            ours: lambda: InvoiceApproved(invoice_id="inv-001", total=1500.0),
            theirs: lambda: PlainInvoice(invoice_id="inv-001", total=1500.0),
        }
    )
    return [compare(times, ours, theirs, 1.15)]


def converting() -> list[Row]:
    """Convertir, contre un convertisseur écrit à la main pour cette classe."""
    event = Shipment(
        order_id=uuid4(), price=Decimal("12.50"), due=datetime.now(UTC), carrier="x", parcels=2
    )
    data = event.to_dict()
    assert from_dict_by_hand(to_dict_by_hand(event)) == event
    times = measure(
        {
            "to_dict": event.to_dict,
            "to_dict by hand": partial(to_dict_by_hand, event),
            "dataclasses.asdict": partial(dataclasses.asdict, event),
            "from_dict": partial(DomainEvent.from_dict, data),
            "from_dict by hand": partial(from_dict_by_hand, data),
        }
    )
    return [
        compare(times, "to_dict", "to_dict by hand", 0.3),
        compare(times, "dataclasses.asdict", "to_dict by hand", None),
        compare(times, "from_dict", "from_dict by hand", 0.5),
    ]


def to_dict_by_hand(event: Shipment) -> dict[str, Any]:
    """Ce qu’on écrirait à la main, champ par champ."""
    return {
        "event_type": event.event_type,
        "event_version": event.event_version,
        "event_id": str(event.event_id),
        "correlation_id": str(event.correlation_id),
        "causation_id": None if event.causation_id is None else str(event.causation_id),
        "occurred_at": event.occurred_at.isoformat(),
        "tenant_id": event.tenant_id,
        "order_id": str(event.order_id),
        "price": str(event.price),
        "due": event.due.isoformat(),
        "carrier": event.carrier,
        "parcels": event.parcels,
    }


def from_dict_by_hand(data: dict[str, Any]) -> Shipment:
    """Le retour, champ par champ."""
    cause = data["causation_id"]
    return Shipment(
        event_id=UUID(data["event_id"]),
        correlation_id=UUID(data["correlation_id"]),
        causation_id=None if cause is None else UUID(cause),
        occurred_at=datetime.fromisoformat(data["occurred_at"]),
        tenant_id=data["tenant_id"],
        order_id=UUID(data["order_id"]),
        price=Decimal(data["price"]),
        due=datetime.fromisoformat(data["due"]),
        carrier=data["carrier"],
        parcels=data["parcels"],
    )


def sending() -> list[Row]:
    """Un événement asynchrone, contre ``task.delay`` sur le transport en mémoire."""
    event = InvoiceApproved(invoice_id="inv-001", total=1500.0)
    payload = event.to_dict()
    sent: list[dispatch.Dispatch] = []

    def before_the_broker(batch: dispatch.Batch) -> None:
        assert broker.is_available()
        assert not broker.breaker.is_open(batch[0].planned_at)

    bus = EventBus(enrol=lambda batch: dispatch.after_commit(batch, before_the_broker))
    name = "bench.handler"
    bus.subscribe_async(InvoiceApproved, _make_handler(), name=name)
    catcher = EventBus(enrol=sent.extend)
    catcher.subscribe_async(InvoiceApproved, _make_handler(), name=name)
    catcher.publish(event)
    (item,) = sent

    def send_one() -> None:
        for message in tasks.messages_for([item]):
            message.send(print)

    times = measure(
        {
            "the bus, before the broker": partial(bus.publish, event),
            "sending one task": send_one,
            "task.delay": partial(tasks.dispatch_async_event.delay, payload, name, 0, "default"),
        }
    )
    current_app.control.purge()
    return [
        compare(times, "the bus, before the broker", "task.delay", 0.05),
        compare(times, "sending one task", "task.delay", 0.75),
    ]


def through_redis() -> list[Row]:
    """Mille événements dans un commit, et une publication durable, contre Celery et Redis."""
    from src.share_kernel.infrastructure.outbox.enrolment import enrol

    current_app.conf.task_default_queue = f"bench-{uuid4().hex[:12]}"
    call_command("migrate", verbosity=0)
    name, count = "bench.handler", 1000
    events = [InvoiceApproved(invoice_id=f"inv-{number}") for number in range(count)]
    light = EventBus(enrol=dispatch.enrol_for_celery)
    durable = EventBus(enrol=enrol)
    for bus in (light, durable):
        bus.subscribe_async(InvoiceApproved, _make_handler(), name=name)
    delay = tasks.dispatch_async_event.delay

    def one_by_one() -> None:
        with transaction.atomic():
            for event in events:
                transaction.on_commit(partial(delay, event.to_dict(), name))

    def in_batches() -> None:
        with transaction.atomic():
            light.publish_many(events)

    def one_through_celery() -> None:
        with transaction.atomic():
            transaction.on_commit(partial(delay, InvoiceApproved().to_dict(), name))

    def one_durably() -> None:
        broker.breaker.trip()  # no wake-up: the relay’s work
        with transaction.atomic():
            durable.publish(InvoiceApproved())
        broker.breaker.tripped_at = float("-inf")

    ours, theirs = "1000 events, publish_events", "1000 × (on_commit → delay), Redis"
    durably, celery_publish = "durable publish, row only", "a Celery publish, Redis"
    many = measure({ours: in_batches, theirs: one_by_one}, rounds=5)
    single = measure({durably: one_durably, celery_publish: one_through_celery})
    with current_app.connection_for_write() as connection:
        connection.SimpleQueue(current_app.conf.task_default_queue).queue.delete()
    return [
        compare(many, ours, theirs, 1 / 15),
        compare(single, durably, celery_publish, 0.5),
    ]


def measured_apart() -> list[Row]:
    """Mesure la part de Redis dans un autre processus, dont c’est le broker."""
    parts = urlsplit(REDIS_URL)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=2).close()
    except OSError as error:
        print(f"Skipped, no Redis at {parts.hostname}:{parts.port}: {error}")
        return []
    done = subprocess.run(
        [sys.executable, __file__, "redis"], stdout=subprocess.PIPE, text=True, check=True
    )
    return [Row(**row) for row in json.loads(done.stdout)]


def main() -> None:
    """Mesure, écrit le JSON, affiche le tableau avec ce qui manque aux bornes."""
    rows: list[Row] = []
    for part in (publishing, building, converting, sending, measured_apart):
        print(f"Measuring: {part.__name__} …", flush=True)
        rows += part()
    RESULTS.parent.mkdir(exist_ok=True)
    result = {
        "python": platform.python_version(),
        "django": django.__version__,
        "rounds": ROUNDS,
        "rows": [dataclasses.asdict(row) | {"verdict": row.verdict} for row in rows],
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\n{'':34}{'ratio':>8}{'median':>8}{'target':>8}   against")
    for row in rows:
        target = "" if row.target is None else f"{row.target:.3g}"
        print(
            f"{row.what:34}{row.ratio:8.2f}{row.median_ratio:8.2f}{target:>8}   {row.against}"
            f"{'   ' + row.verdict if row.verdict else ''}"
        )
    print(f"\nWritten to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    if WITH_REDIS:
        print(json.dumps([dataclasses.asdict(row) for row in through_redis()]))
        shutil.rmtree(FOLDER)
    else:
        main()
