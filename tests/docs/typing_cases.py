"""Ce que les types acceptent et refusent, relu par mypy ici et dans un projet neuf.

Chaque refus porte son ``type: ignore`` : le jour où mypy l’accepte, l’ignore est de trop et
mypy le dit. Ce qui est accepté est aussi exécuté, pour que le bus soit du même avis.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, assert_type

from src.share_kernel.domain.domain_event import DomainEvent, register_event
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.testing import deliver_pending, isolated_bus, record_events

Case: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class Booking(DomainEvent):
    """Une famille : la classe n’est pas enregistrée."""

    seat: str = "A1"


@register_event
@dataclass(frozen=True)
class SeatBooked(Booking):
    event_type = "typing.seat_booked"

    price: float = 0.0


@register_event
@dataclass(frozen=True)
class SeatFreed(Booking):
    event_type = "typing.seat_freed"

    reason: str = ""


def on_booked(event: SeatBooked) -> None: ...
def on_freed(event: SeatFreed) -> None: ...
def on_booking(event: Booking) -> None: ...
def on_either(event: SeatBooked | SeatFreed) -> None: ...
def on_event(event: DomainEvent) -> None: ...
def on_text(event: str) -> None: ...
def on_nothing() -> None: ...
def on_two(event: SeatBooked, other: int) -> None: ...
def on_anything(event: Any, retries: int = 0) -> int:
    return retries


async def print_ticket(event: SeatBooked) -> None: ...
async def refund(event: SeatFreed) -> None: ...


class Desk:
    """Un guichet, dont des méthodes et les instances sont des handlers."""

    def book(self, event: SeatBooked) -> None: ...
    def free(self, event: SeatFreed) -> None: ...
    @classmethod
    def count(cls, event: SeatBooked) -> None: ...
    def __call__(self, event: SeatBooked) -> None: ...


def with_printer(printer: str, event: SeatBooked) -> None: ...


def accepted_as_functions() -> None:
    subscribe_sync(SeatBooked, on_booked)
    subscribe_sync(SeatBooked, on_booking)
    subscribe_sync(SeatBooked, on_either)
    subscribe_sync(SeatBooked, on_event)
    subscribe_sync(SeatBooked, on_anything)
    subscribe_sync(SeatBooked, Desk().book)
    subscribe_sync(SeatBooked, Desk())
    subscribe_sync(SeatBooked, partial(with_printer, "A4"))
    subscribe_sync(SeatBooked, lambda event: print(event.price))
    subscribe_sync(SeatBooked, print)
    subscribe_async(SeatBooked, print_ticket, queue="printing", max_attempts=3)
    subscribe_async(SeatBooked, on_booked, atomic=False, claim=60)
    subscribe_async(SeatBooked, on_booking)
    subscribe_async(SeatBooked, Desk.count)
    subscribe_async(SeatBooked, Desk().book, name="typing.desk")
    subscribe_async(SeatBooked, lambda event: print(event.price), name="typing.lambda")
    assert_type(subscribe_sync(SeatBooked, on_booked), Callable[[SeatBooked], None])
    assert_type(subscribe_sync(SeatBooked, on_anything), Callable[[SeatBooked], int])


def accepted_for_a_family() -> None:
    subscribe_sync(Booking, on_booking)
    subscribe_sync(Booking, on_event)
    subscribe_async(Booking, on_booking)
    subscribe_async(Booking, lambda event: print(event.seat), name="typing.family")
    subscribe_async(DomainEvent, on_event)


def accepted_by_name() -> None:
    subscribe_sync("typing.seat_booked", on_freed)  # a name says nothing of the class
    subscribe_async("typing.seat_booked", refund)
    assert_type(unsubscribe("typing.seat_booked", on_freed), bool)
    assert_type(unsubscribe(SeatBooked, refund), bool)


def accepted_as_decorators() -> None:
    @subscribe_sync(SeatBooked)
    def count(event: SeatBooked) -> int:
        return len(event.seat)

    assert_type(count, Callable[[SeatBooked], int])
    assert_type(count(SeatBooked()), int)

    @subscribe_async(SeatBooked, name="typing.send", queue="printing")
    async def send(event: SeatBooked) -> str:
        return event.seat

    assert_type(send, Callable[[SeatBooked], Coroutine[Any, Any, str]])
    send(SeatBooked()).close()

    @subscribe_sync(Booking)
    def on_family(event: Booking) -> None: ...

    on_family(SeatFreed())

    # Neither decorator narrows what the other one is given.
    @subscribe_sync(SeatBooked)
    @subscribe_sync(SeatFreed)
    def on_both(event: SeatBooked | SeatFreed) -> None: ...

    assert_type(on_both, Callable[[SeatBooked | SeatFreed], None])

    @subscribe_async(SeatBooked, name="typing.audit")
    @subscribe_sync(SeatFreed)
    def audit(event: DomainEvent) -> None: ...

    audit(Booking())

    @subscribe_sync("typing.seat_booked")
    def by_name(event: SeatBooked, retries: int = 0) -> int:
        return retries

    assert_type(by_name(event=SeatBooked(), retries=1), int)  # the very function


def accepted_elsewhere() -> None:
    publish_event(SeatBooked(), using="default")
    publish_events([SeatBooked(), SeatFreed()])
    with record_events() as events, isolated_bus():
        assert_type(events, list[DomainEvent])
    assert_type(deliver_pending(only=SeatBooked), list[str])
    deliver_pending(only=Booking)
    desk = Desk()
    subscribe_async(SeatBooked, print_ticket)
    subscribe_async(SeatBooked, desk.book, name="typing.desk")
    deliver_pending("default", only=print_ticket)
    deliver_pending(only=desk.book)


def refused_as_functions() -> None:
    subscribe_sync(SeatBooked, on_freed)  # type: ignore[arg-type]
    subscribe_sync(SeatBooked, on_text)  # type: ignore[arg-type]
    subscribe_sync(SeatBooked, on_nothing)  # type: ignore[arg-type]
    subscribe_sync(SeatBooked, on_two)  # type: ignore[arg-type]
    subscribe_sync(SeatBooked, Desk().free)  # type: ignore[arg-type]
    subscribe_sync(SeatFreed, Desk())  # type: ignore[arg-type]
    subscribe_sync(SeatBooked, lambda event: print(event.reason))  # type: ignore[attr-defined]
    subscribe_sync(SeatBooked, "typing_cases.on_booked")  # type: ignore[call-overload]
    subscribe_sync(str, on_text)  # type: ignore[type-var]
    subscribe_sync(SeatBooked, on_booked, queue="printing")  # type: ignore[call-overload]
    subscribe_async(SeatBooked, on_freed)  # type: ignore[arg-type]
    subscribe_async(SeatBooked, refund)  # type: ignore[arg-type]
    subscribe_async(SeatBooked, lambda event: print(event.reason), name="typing.lambda")  # type: ignore[attr-defined]
    subscribe_async(SeatBooked, on_booked, atomic="no")  # type: ignore[call-overload]


def refused_for_a_family() -> None:
    subscribe_sync(Booking, on_booked)  # type: ignore[arg-type]
    subscribe_async(Booking, print_ticket)  # type: ignore[arg-type]
    subscribe_async(DomainEvent, on_booking)  # type: ignore[arg-type]


def refused_as_decorators() -> None:
    @subscribe_sync(SeatBooked)  # type: ignore[arg-type]
    def one(event: SeatFreed) -> None: ...

    @subscribe_async(SeatBooked)  # type: ignore[arg-type]
    async def two(event: SeatFreed) -> None: ...

    @subscribe_sync(Booking)  # type: ignore[arg-type]
    def three(event: SeatBooked) -> None: ...

    @subscribe_sync(SeatBooked)  # type: ignore[arg-type]
    @subscribe_sync(SeatFreed)
    def four(event: SeatFreed) -> None: ...

    @subscribe_sync(SeatBooked)  # type: ignore[arg-type]
    def five() -> None: ...

    @subscribe_sync  # type: ignore[call-overload]
    def six(event: SeatBooked) -> None: ...

    @subscribe_sync(SeatBooked)
    def seven(event: SeatBooked) -> None: ...

    seven(SeatFreed())  # type: ignore[arg-type]


def refused_elsewhere() -> None:
    publish_event("typing.seat_booked")  # type: ignore[arg-type]
    publish_event(SeatBooked)  # type: ignore[arg-type]
    publish_events(SeatBooked())  # type: ignore[arg-type]
    deliver_pending(only="typing.seat_booked")  # type: ignore[arg-type]
    unsubscribe(SeatBooked, "on_booked")  # type: ignore[arg-type]
