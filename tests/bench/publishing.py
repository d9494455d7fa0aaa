"""Ce qui se passe dans l’appel : publier à des handlers synchrones, construire un événement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import blinker
import pyee
from django.dispatch import Signal

from src.share_kernel.domain.domain_event import DomainEvent, register_event
from src.share_kernel.infrastructure.event_bus import EventBus

from .measuring import Case, Row, compare, measure

LOOK_UP, LOOP = "a `dict` look-up", "a plain loop"

# How many handlers, what the ratio is to, and the ratio that publish_event has to hold.
COUNTS = [(0, LOOK_UP, 1.5), (1, LOOP, 5.5), (10, LOOP, 2.3), (100, LOOP, 1.3)]
NAMES = {
    "publish": "`publish_event`",
    "pyee": "`pyee`",
    "cached": "`Signal`, cached",
    "signal": "`Signal.send`",
    "robust": "`send_robust`",
    "blinker": "`blinker`",
}


@register_event
@dataclass(frozen=True)
class InvoiceApproved(DomainEvent):
    """L’événement de la page de départ."""

    event_type = "bench.invoice_approved"

    invoice_id: str = ""
    total: float = 0.0


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


def publishing() -> list[Row]:
    """Publier, contre une boucle nue, comme ceux qui font la même chose."""
    rows: list[Row] = []
    for count, reference, target in COUNTS:
        cases = {NAMES[name]: case for name, case in _publishers(count).items()}
        times = measure(cases | _limits(count))
        targets = {"publish": target}  # nothing is asked of the others
        rows += [
            compare(times, f"{name}-{count}", label, reference, targets.get(name))
            for name, label in NAMES.items()
        ]
    return rows


def _publishers(count: int) -> dict[str, Case]:
    """Chacun avec ce nombre de handlers vides, appelé comme sa documentation le montre."""
    event, sender = InvoiceApproved(), InvoiceApproved
    bus, emitter, theirs = EventBus(), pyee.EventEmitter(), blinker.Signal()
    signal, cached = Signal(), Signal(use_caching=True)
    for _ in range(count):
        bus.subscribe_sync(InvoiceApproved, make_handler())
        emitter.on("approved", make_handler())
        for each in (signal, cached, theirs):
            each.connect(_make_receiver(), weak=False)
    return {
        "publish": partial(bus.publish, event),
        "pyee": partial(emitter.emit, "approved", event),
        "cached": partial(cached.send, sender, event=event),
        "signal": partial(signal.send, sender, event=event),
        "robust": partial(signal.send_robust, sender, event=event),
        "blinker": partial(theirs.send, sender, event=event),
    }


def _limits(count: int) -> dict[str, Case]:
    """Le moins qu’on puisse faire : appeler les handlers, ou voir qu’il n’y en a pas."""
    event, none = InvoiceApproved(), dict[str, list[Case]]()
    handlers = [make_handler() for _ in range(count)]

    def look_up(event: InvoiceApproved) -> None:
        found = none.get(event.event_type)
        if found is None:
            return

    def loop(event: InvoiceApproved) -> None:
        for handler in handlers:
            handler(event)

    return {LOOK_UP: partial(look_up, event), LOOP: partial(loop, event)}


def make_handler() -> Callable[[Any], None]:
    """Renvoie un nouveau handler, qui ne fait rien."""

    def handler(event: Any) -> None: ...

    return handler


def _make_receiver() -> Callable[..., None]:
    def receiver(sender: Any, **named: Any) -> None: ...

    return receiver


def building() -> list[Row]:
    """Construire un événement, contre une dataclass gelée de mêmes champs."""
    ours, theirs = "building an event", "building a frozen dataclass"
    times = measure(
        {
            ours: lambda: InvoiceApproved(invoice_id="inv-001", total=1500.0),
            theirs: lambda: PlainInvoice(invoice_id="inv-001", total=1500.0),
        }
    )
    return [compare(times, "build", ours, theirs, 1.15)]
