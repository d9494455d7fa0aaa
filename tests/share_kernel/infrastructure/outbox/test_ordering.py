"""L’ordre par clé : chaque handler reçoit les événements d’une clé dans l’ordre de publication."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import current_app
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventDefinitionError,
    PayloadError,
    PermanentFailure,
    RetryAfter,
    SubscriptionError,
    register_event,
)
from src.share_kernel.infrastructure import dispatch
from src.share_kernel.infrastructure.event_bus import (
    EventBus,
    publish_event,
    publish_events,
    subscribe_async,
)
from src.share_kernel.infrastructure.outbox import models
from src.share_kernel.infrastructure.outbox.models import Delivery, in_seconds
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.mailbox import Mailbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]


@register_event
@dataclass(frozen=True)
class Moved(DomainEvent):
    event_type = "stock.moved"
    ordering_key = "item"

    item: str | None = "a"
    step: int = 0


class Line:
    """Un handler qui note ce qu’il reçoit, et échoue là où on le lui demande."""

    def __init__(self) -> None:
        self.received: list[tuple[str | None, int]] = []
        self.failing: dict[tuple[str | None, int], Exception] = {}

    def __call__(self, event: Moved) -> None:
        self.received.append((event.item, event.step))
        if error := self.failing.get((event.item, event.step)):
            raise error

    def of(self, item: str) -> list[int]:
        return [step for name, step in self.received if name == item]


@pytest.fixture
def line(outbox: None) -> Line:
    received = Line()
    subscribe_async(Moved, received, name="line")
    return received


def moves(**steps: int) -> None:
    """Publie, un à un, tant de pas pour chaque article."""
    for item, count in steps.items():
        for step in range(count):
            publish_event(Moved(item=item, step=step))


def states() -> dict[tuple[str | None, int], str]:
    rows = Delivery.objects.order_by("position")
    keys: dict[str | None, int] = {}
    found = {}
    for row in rows:
        step = keys.get(row.key, 0)
        found[row.key, step] = row.state
        keys[row.key] = step + 1
    return found


def time_passes(seconds: float = 3601) -> None:
    past = timedelta(seconds=seconds)
    Delivery.objects.filter(state="pending").update(start_after=F("start_after") - past)


class TestOneKey:
    def test_starts_in_the_order_of_publication_wherever_rows_lie(self, line: Line) -> None:
        moves(a=5)
        # The last published would be the first due.
        for row in Delivery.objects.order_by("-position"):
            Delivery.objects.filter(pk=row.pk).update(
                start_after=row.start_after - timedelta(seconds=row.position)
            )

        relay(execute=True)

        assert line.of("a") == [0, 1, 2, 3, 4]

    def test_a_failing_delivery_holds_its_key_back_and_no_other(self, line: Line) -> None:
        line.failing["a", 1] = RetryAfter(600)
        moves(a=4, b=3)

        relay(execute=True)
        relay(execute=True)

        assert line.of("a") == [0, 1]
        assert line.of("b") == [0, 1, 2]

        line.failing.clear()
        time_passes(601)
        relay(execute=True)

        assert line.of("a") == [0, 1, 1, 2, 3]

    def test_its_own_backoff_decides_when_it_goes_on(self, line: Line) -> None:
        line.failing["a", 0] = RetryAfter(600)
        moves(a=2)
        relay(execute=True)
        Delivery.objects.filter(state="pending", attempts=0).update(start_after=F("created_at"))

        relay(execute=True)  # the follower is due, its head is not

        assert line.of("a") == [0]

    def test_each_handler_has_its_own_line(self, line: Line) -> None:
        other = Line()
        subscribe_async(Moved, other, name="other")
        line.failing["a", 0] = RetryAfter(600)
        moves(a=3)

        relay(execute=True)

        assert line.of("a") == [0]
        assert other.of("a") == [0, 1, 2]

    def test_without_a_key_nothing_waits(self, line: Line) -> None:
        line.failing[None, 0] = RetryAfter(600)
        for step in range(3):
            publish_event(Moved(item=None, step=step))

        relay(execute=True)

        assert [step for _, step in line.received] == [0, 1, 2]

    def test_a_bulk_publication_keeps_the_order_of_its_list(self, line: Line) -> None:
        publish_events([Moved(step=step) for step in range(250)])

        relay(execute=True)

        assert line.of("a") == list(range(250))

    def test_what_a_rival_holds_is_waited_for(self, line: Line) -> None:
        """Réservée par un autre relais, la tête n’est pas finie : rien ne la dépasse."""
        moves(a=3)
        (head, *_) = Delivery.objects.order_by("position")
        (held,) = Delivery.objects.reserve(1, [head.pk])

        relay(execute=True)

        assert line.of("a") == []
        assert Delivery.objects.get(pk=head.pk).attempts == held.attempts == 1

    def test_a_row_taken_away_from_a_reserved_batch_holds_what_follows(self, line: Line) -> None:
        """Un rival a repris la première ligne d’un lot dont la réservation s’est éteinte."""
        moves(a=3)

        rows = Delivery.objects.reserve(3)
        Delivery.objects.filter(pk=rows[1].pk).update(reserved_until=None)

        assert not Delivery.objects.start(rows[1])
        assert not Delivery.objects.start(rows[2])  # the second is not finished

    def test_what_is_handed_over_is_due_and_may_be_woken_at_once(
        self, line: Line, mailbox: Mailbox
    ) -> None:
        """Si ce processus meurt avant de livrer la suite, le relais n’attend pas leur bail."""
        moves(a=12)
        Delivery.objects.update(start_after=in_seconds(600))

        handed = Delivery.objects.hand_over("line", "a")

        first = list(Delivery.objects.order_by("position").values_list("pk", flat=True))
        assert handed == first[:10]
        assert {row.pk for row in Delivery.objects.lease(20)} == set(handed)


class TestADeadHead:
    def test_releases_its_key(self, line: Line) -> None:
        line.failing["a", 0] = PermanentFailure("no")
        moves(a=3)

        relay(execute=True)

        assert line.of("a") == [0, 1, 2]
        assert states() == {("a", 0): "dead", ("a", 1): "done", ("a", 2): "done"}

    @pytest.fixture
    def holding(self, outbox: None) -> Line:
        received = Line()
        subscribe_async(Moved, received, name="holding", on_dead="hold")
        received.failing["a", 0] = PermanentFailure("no")
        return received

    def test_or_holds_it_back(self, holding: Line) -> None:
        moves(a=3, b=2)

        relay(execute=True)
        time_passes()
        relay(execute=True)

        assert holding.of("a") == [0]
        assert holding.of("b") == [0, 1]
        assert states()["a", 0] == "holding"

    def test_until_it_is_replayed(self, holding: Line) -> None:
        moves(a=3)
        relay(execute=True)
        holding.failing.clear()

        assert Delivery.objects.filter(state="holding").replay() == 1
        relay(execute=True)

        assert holding.of("a") == [0, 0, 1, 2]

    def test_or_given_up_for_good(self, holding: Line) -> None:
        moves(a=3)
        relay(execute=True)

        Delivery.objects.filter(state="holding").give_up("by hand")
        relay(execute=True)

        assert holding.of("a") == [0, 1, 2]
        assert states()["a", 0] == "dead"

    def test_revived_after_its_followers_it_holds_back_only_those_to_come(self, line: Line) -> None:
        line.failing["a", 0] = PermanentFailure("no")
        moves(a=2)
        relay(execute=True)
        line.failing["a", 0] = RetryAfter(600)
        Delivery.objects.filter(state="dead").replay()
        publish_event(Moved(step=2))

        relay(execute=True)
        assert line.of("a") == [0, 1, 0]

        line.failing.clear()
        time_passes(601)
        relay(execute=True)
        assert line.of("a") == [0, 1, 0, 0, 2]


class TestManyHeldBack:
    """Dix mille lignes derrière une tête qui échoue ne ralentissent pas les autres."""

    HELD = 1_200

    @pytest.fixture
    def _crowd(self, line: Line) -> None:
        line.failing["a", 0] = RetryAfter(7200)
        publish_events([Moved(step=step) for step in range(self.HELD)])

    @pytest.mark.usefixtures("_crowd")
    def test_are_set_aside_once(self, line: Line) -> None:
        relay(execute=True)
        moves(b=3)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            relay(execute=True)

        assert line.of("b") == [0, 1, 2]
        assert line.of("a") == [0]
        written = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
        assert len(written) < 10

    @pytest.mark.usefixtures("_crowd")
    def test_are_all_delivered_once_the_head_is(self, line: Line) -> None:
        relay(execute=True)
        line.failing.clear()
        head = Delivery.objects.order_by("position")[0]
        Delivery.objects.filter(pk=head.pk).update(start_after=F("created_at"))

        while relay(execute=True):
            pass

        assert line.of("a") == [0, *range(self.HELD)]


class TestWakeUps:
    """Un worker que réveille Celery garde le même ordre."""

    def deliver(self, *rows: Delivery) -> None:
        current_app.tasks["share_kernel.deliver"].run([str(row.pk) for row in rows])

    def test_of_a_follower_alone_does_nothing(self, line: Line) -> None:
        moves(a=3)
        _, second, third = Delivery.objects.order_by("position")

        self.deliver(third, second)

        assert line.received == []

    def test_of_the_head_delivers_what_it_held_back(self, line: Line) -> None:
        moves(a=30, b=1)
        rows = list(Delivery.objects.order_by("position"))
        self.deliver(*rows[1:30])

        self.deliver(rows[0])

        assert line.of("a") == list(range(30))
        assert line.of("b") == []

    def test_in_disorder_of_the_whole_line(self, line: Line) -> None:
        moves(a=6)

        self.deliver(*Delivery.objects.order_by("-position"))

        assert line.of("a") == list(range(6))


class Colour(Enum):
    RED = "red"


class TestTheKey:
    @pytest.mark.parametrize(
        ("value", "key"),
        [
            (None, None),
            ("", ""),
            ("é 🎈", "é 🎈"),
            (12, "12"),
            (UUID(int=5), str(UUID(int=5))),
            (Colour.RED, "red"),
        ],
    )
    def test_is_a_text_a_number_or_an_identifier(self, value: Any, key: str | None) -> None:
        @register_event
        @dataclass(frozen=True)
        class Keyed(DomainEvent):
            event_type = "stock.keyed"

            @property
            def stream(self) -> Any:
                return value

        subscribe_async(Keyed, lambda event: None, name="keyed", ordering_key="stream")
        publish_event(Keyed())

        assert Delivery.objects.get().key == key

    @pytest.mark.parametrize(
        "text",
        ["x" * 10_000, "a\0b", "a\nb", "\udc80"],
        ids=["long", "nul", "newline", "surrogate"],
    )
    def test_that_a_column_would_refuse_still_orders(self, text: str) -> None:
        received: list[int] = []

        @register_event
        @dataclass(frozen=True)
        class Keyed(DomainEvent):
            event_type = "stock.keyed"
            ordering_key = "stream"
            step: int = 0

            @property
            def stream(self) -> str:
                return text if self.step < 2 else f"{text} "

        def failing(event: Any) -> None:
            received.append(event.step)
            if event.step == 0:
                raise RetryAfter(600)

        subscribe_async(Keyed, failing, name="keyed")
        publish_events([Keyed(step=0), Keyed(step=1), Keyed(step=2)])
        relay(execute=True)

        assert received == [0, 2]

    @pytest.mark.parametrize("value", [1.5, ["a"], object(), {"a"}])
    def test_of_another_kind_is_refused_in_the_publisher(self, value: Any) -> None:
        with pytest.raises(PayloadError, match="stream is .*not a text"):
            publish_with_key(value=value)

        assert not Delivery.objects.exists()

    def test_that_raises_is_refused_in_the_publisher(self) -> None:
        with pytest.raises(PayloadError, match="stream raises ZeroDivisionError"):
            publish_with_key(error=ZeroDivisionError())

    def test_of_the_subscription_comes_before_that_of_the_class(self, line: Line) -> None:
        subscribe_async(Moved, lambda event: None, name="other", ordering_key="event_type")
        publish_event(Moved())

        assert dict(Delivery.objects.values_list("handler", "key")) == {
            "line": "a",
            "other": "stock.moved",
        }

    @pytest.mark.parametrize("name", ["nowhere", 3, ""])
    def test_that_the_class_does_not_have_is_refused(self, name: Any) -> None:
        with pytest.raises(EventDefinitionError, match="ordering_key is"):
            register_event(
                dataclass(frozen=True)(
                    type("Keyed", (DomainEvent,), {"event_type": "a.b", "ordering_key": name})
                )
            )

    def test_that_is_a_field_is_refused(self) -> None:
        with pytest.raises(EventDefinitionError, match="ordering_key is a field"):

            @register_event
            @dataclass(frozen=True)
            class Keyed(DomainEvent):
                event_type = "a.b"
                ordering_key: str = "x"  # type: ignore[misc]

    @pytest.mark.parametrize(
        "options",
        [{"ordering_key": 3}, {"ordering_key": ""}, {"on_dead": "wait"}, {"on_dead": None}],
    )
    def test_an_absurd_option_is_refused(self, options: Any) -> None:
        with pytest.raises(SubscriptionError, match=next(iter(options))):
            subscribe_async(Moved, print, **options)


def publish_with_key(value: Any = None, error: Exception | None = None) -> None:
    @register_event
    @dataclass(frozen=True)
    class Keyed(DomainEvent):
        event_type = "stock.keyed"
        ordering_key = "stream"

        @property
        def stream(self) -> Any:
            if error:
                raise error
            return value

    subscribe_async(Keyed, lambda event: None, name="keyed")
    publish_event(Keyed())


class TestWithoutTheRegister:
    @pytest.fixture(autouse=True)
    def _light(self, outbox: None) -> Iterator[None]:
        before = dispatch.slots.enrol
        dispatch.enrol_with(None)
        yield
        dispatch.enrol_with(before)

    @pytest.mark.parametrize("options", [{}, {"ordering_key": "item"}])
    def test_a_subscription_is_refused_with_the_reason(self, options: Any) -> None:
        with pytest.raises(SubscriptionError, match="only the durable register keeps an order"):
            subscribe_async(Moved, print, name="p", **options)

    def test_by_name_too(self) -> None:
        with pytest.raises(SubscriptionError, match="only the durable register"):
            subscribe_async("shop.order_placed", print, name="p", ordering_key="order_id")

    def test_a_family_is_when_such_an_event_is_published(self) -> None:
        subscribe_async(DomainEvent, print, name="p")
        publish_event(OrderPlaced())

        with pytest.raises(SubscriptionError, match="only the durable register"):
            publish_event(Moved())

    def test_a_bus_apart_too(self) -> None:
        bus = EventBus()
        dispatch.enrol_with(lambda batch: None)
        bus.subscribe_async(Moved, print, name="p")

        with pytest.raises(SubscriptionError, match="only the durable register"):
            dispatch.enrol_with(None)
            bus.publish(Moved())


def test_a_position_follows_the_one_before() -> None:
    subscribe_async(Moved, lambda event: None, name="line")
    with transaction.atomic():
        publish_events([Moved(step=step) for step in range(3)])
        publish_event(Moved(step=3))
    again = Moved(step=4)
    publish_event(again)
    publish_event(again)
    publish_event(Moved(step=5))

    positions = list(Delivery.objects.order_by("created_at").values_list("position", flat=True))
    assert positions == sorted(set(positions))
    assert len(positions) == 6


def test_identifiers_follow_time() -> None:
    ids = [uuid.bytes for uuid in (Moved().event_id for _ in range(50))]
    assert ids[0] < ids[-1]
    assert uuid4().version == 4
    assert models.Delivery().pk.version == 7
