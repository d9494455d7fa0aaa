"""S’abonner à une classe dont d’autres événements dérivent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    SubscriptionError,
    register_event,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.infrastructure.registry import registry
from src.share_kernel.testing import isolated_bus

Seen = list[Any]


@dataclass(frozen=True)
class InvoiceEvent(DomainEvent):
    """Une famille : elle n’est pas enregistrée elle-même."""

    invoice_id: str = ""


@dataclass(frozen=True)
class LateInvoiceEvent(InvoiceEvent):
    days: int = 0


@pytest.fixture(autouse=True)
def events() -> Iterator[dict[str, type[DomainEvent]]]:
    """Deux événements de la famille, un autre, rendus au registre à la fin."""
    with isolated_bus():

        @register_event
        @dataclass(frozen=True)
        class Sent(InvoiceEvent):
            event_type = "family.sent"

        @register_event
        @dataclass(frozen=True)
        class Reminded(LateInvoiceEvent):
            event_type = "family.reminded"

        @register_event
        @dataclass(frozen=True)
        class Other(DomainEvent):
            event_type = "family.other"

        yield {"sent": Sent, "reminded": Reminded, "other": Other}


Events = dict[str, type[DomainEvent]]


def audit(event: DomainEvent) -> None: ...


def names(cls: type[DomainEvent]) -> list[str]:
    return [item.name for item in registry.for_event(cls)]


def test_a_parent_hears_every_event_that_derives_from_it(events: Events) -> None:
    seen: Seen = []
    subscribe_sync(InvoiceEvent, seen.append)

    for cls in events.values():
        publish_event(cls())

    assert [type(event) for event in seen] == [events["sent"], events["reminded"]]


def test_events_declared_later_are_heard_too() -> None:
    seen: Seen = []
    subscribe_sync(InvoiceEvent, seen.append)

    @register_event
    @dataclass(frozen=True)
    class Cancelled(InvoiceEvent):
        event_type = "family.cancelled"

    publish_event(Cancelled())

    assert len(seen) == 1


def test_the_root_hears_everything(events: Events) -> None:
    seen: Seen = []
    subscribe_sync(DomainEvent, seen.append)

    for cls in events.values():
        publish_event(cls())

    assert len(seen) == 3


@pytest.mark.parametrize("first", [InvoiceEvent, LateInvoiceEvent, DomainEvent, "own"])
@pytest.mark.parametrize("second", [InvoiceEvent, LateInvoiceEvent, DomainEvent, "own"])
def test_a_handler_is_called_once_whatever_matched(events: Events, first: Any, second: Any) -> None:
    seen: Seen = []
    for topic in (first, second):
        subscribe_sync(events["reminded"] if topic == "own" else topic, seen.append)

    publish_event(events["reminded"]())

    assert len(seen) == 1


def test_the_options_of_the_nearest_class_win(events: Events) -> None:
    subscribe_async(DomainEvent, audit, queue="far", max_attempts=9)
    subscribe_async(LateInvoiceEvent, audit, queue="near", max_attempts=2)
    subscribe_async(InvoiceEvent, audit, queue="middle", max_attempts=5)

    (item,) = (item for item in registry.for_event(events["reminded"]) if item.handler is audit)
    assert (item.queue, item.max_attempts) == ("near", 2)
    (item,) = (item for item in registry.for_event(events["sent"]) if item.handler is audit)
    assert item.queue == "middle"


def test_the_order_is_that_of_subscribing(events: Events) -> None:
    subscribe_sync(InvoiceEvent, lambda event: None, name="1")
    subscribe_sync(events["sent"], lambda event: None, name="2")
    subscribe_sync(DomainEvent, lambda event: None, name="3")
    subscribe_sync("family.sent", lambda event: None, name="4")

    assert names(events["sent"]) == ["1", "2", "3", "4"]


@pytest.mark.django_db(transaction=True)
def test_an_async_handler_of_a_family_runs_after_commit(events: Events) -> None:
    seen: Seen = []
    subscribe_async(InvoiceEvent, seen.append, name="seen")

    publish_event(events["sent"](invoice_id="F-1"))  # type: ignore[call-arg]

    assert [event.invoice_id for event in seen] == ["F-1"]


def test_a_worker_finds_it_by_name(events: Events) -> None:
    subscribe_async(InvoiceEvent, audit)

    assert registry.by_name("family.sent", f"{__name__}.audit").handler is audit


def test_a_registered_parent_is_itself_alone(events: Events) -> None:
    parent: Any = events["sent"]

    @register_event
    @dataclass(frozen=True)
    class Resent(parent):  # type: ignore[misc]
        event_type = "family.resent"

    seen: Seen = []
    subscribe_sync(parent, seen.append)

    publish_event(Resent())

    assert seen == []


def test_unsubscribing_from_the_family_leaves_the_event(events: Events) -> None:
    seen: Seen = []
    subscribe_sync(InvoiceEvent, seen.append)
    subscribe_sync(events["sent"], seen.append)

    assert unsubscribe(InvoiceEvent, seen.append) is True
    publish_event(events["sent"]())
    publish_event(events["reminded"]())

    assert len(seen) == 1


def test_one_async_name_for_two_functions_of_a_family_and_an_event_is_refused(
    events: Events,
) -> None:
    subscribe_async(events["sent"], lambda event: None, name="audit")

    with pytest.raises(SubscriptionError, match="under the name 'audit'"):
        subscribe_async(InvoiceEvent, lambda event: None, name="audit")


def test_a_family_without_members_is_found_by_the_check() -> None:
    @dataclass(frozen=True)
    class Nobody(DomainEvent): ...

    subscribe_sync(Nobody, lambda event: None, name="h")

    (message,) = run_checks(tags=["share_kernel"])
    assert message.id == "share_kernel.E001"
    assert "Nobody" in message.msg
    assert "derives" in str(message.hint)


def test_the_list_of_handlers_shows_the_family(capsys: pytest.CaptureFixture[str]) -> None:
    subscribe_async(InvoiceEvent, audit)

    call_command("list_event_handlers")

    printed = capsys.readouterr().out
    assert f"{__name__}.InvoiceEvent*  async" in printed
    assert "unknown" not in printed
