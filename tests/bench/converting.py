"""Un événement en dictionnaire, et retour, contre ce qu’on écrirait à la main pour sa classe."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import dacite

from src.share_kernel.domain.domain_event import DomainEvent, register_event

from .measuring import Case, Row, compare, measure

WRITTEN, READ = "a hand-written `to_dict`", "a hand-written `from_dict`"
DACITE = dacite.Config(
    type_hooks={UUID: UUID, Decimal: Decimal, datetime: datetime.fromisoformat},
)


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


def converting() -> list[Row]:
    """Convertir, dans les deux sens."""
    event = Shipment(
        order_id=uuid4(), price=Decimal("12.50"), due=datetime.now(UTC), carrier="x", parcels=2
    )
    data = event.to_dict()
    readers: dict[str, Case] = {
        "`from_dict`": partial(DomainEvent.from_dict, data),
        "`dacite`": partial(dacite.from_dict, Shipment, data, DACITE),
        READ: partial(from_dict_by_hand, data),
    }
    assert all(read() == event for read in readers.values())
    times = measure(
        {
            "`to_dict`": event.to_dict,
            "`dataclasses.asdict`": partial(dataclasses.asdict, event),
            WRITTEN: partial(to_dict_by_hand, event),
            **readers,
        }
    )
    return [
        compare(times, "to-dict", "`to_dict`", WRITTEN, 0.3),
        compare(times, "asdict", "`dataclasses.asdict`", WRITTEN),
        compare(times, "from-dict", "`from_dict`", READ, 0.5),
        compare(times, "dacite", "`dacite`", READ),
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
