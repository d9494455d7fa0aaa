"""Ce qui est refusé avant de pouvoir nuire, et ce que l’on reçoit vraiment."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import TestCase

from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventDefinitionError,
    PayloadError,
    register_event,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    subscribe_async,
    subscribe_sync,
)
from src.share_kernel.testing import deliver_pending, isolated_bus
from tests.share_kernel.events import OrderPlaced

MARKER = {"__type__": "datetime", "__value__": "2026-01-01T00:00:00Z"}


@register_event
@dataclass(frozen=True)
class Nested(DomainEvent):
    event_type = "tests.nested"

    rows: list[dict[str, str]] = field(default_factory=list)
    by_name: dict[str, dict[str, str]] = field(default_factory=dict)
    deep: list[list[dict[str, str]]] = field(default_factory=list)


class TestKombuMarker:
    """Celery récrirait ces deux clés : l’événement arriverait changé."""

    @pytest.mark.parametrize(
        "values",
        [
            {"rows": [{}, dict(MARKER)]},
            {"by_name": {"other": {}, "one": dict(MARKER)}},
            {"deep": [[], [{}, dict(MARKER)]]},
        ],
        ids=list,
    )
    def test_is_refused_wherever_it_is(self, values: dict[str, Any]) -> None:
        subscribe_async(Nested, print, name="never called")

        with pytest.raises(PayloadError, match="rewritten by Celery") as caught:
            publish_event(Nested(**values))

        (name,) = values
        assert f"field {name!r}" in str(caught.value)

    @pytest.mark.parametrize(
        "row", [{"__type__": "x"}, {"__type__": "x", "__value__": "y", "third": "z"}], ids=len
    )
    @pytest.mark.django_db
    def test_keys_that_only_look_like_it_travel(self, row: dict[str, str]) -> None:
        seen: list[Any] = []
        subscribe_async(Nested, seen.append, name="seen")

        publish_event(event := Nested(rows=[row]))
        deliver_pending()

        assert seen == [event]


@pytest.mark.django_db
def test_a_wide_event_is_no_deep_one() -> None:
    seen: list[Any] = []
    subscribe_async(Nested, seen.append, name="seen")

    publish_event(event := Nested(rows=[{"a": "b"} for _ in range(500)]))
    deliver_pending()

    assert seen == [event]


class Silent(DomainEvent):
    """Une classe intermédiaire qui oublie le contrôle de son parent."""

    def __post_init__(self) -> None:
        pass


class Careful(DomainEvent):
    def __post_init__(self) -> None:
        super().__post_init__()


class TestPostInit:
    def test_every_class_up_to_the_event_calls_its_parent(self) -> None:
        @dataclass(frozen=True)
        class Leaf(Silent):
            event_type = "tests.leaf"

        with pytest.raises(EventDefinitionError, match=r"Silent\.__post_init__ must call super"):
            register_event(Leaf)

    def test_even_under_a_class_that_does(self) -> None:
        @dataclass(frozen=True)
        class Leaf(Silent):
            event_type = "tests.leaf"

            def __post_init__(self) -> None:
                super().__post_init__()

        with pytest.raises(EventDefinitionError, match=r"Silent\.__post_init__ must call super"):
            register_event(Leaf)

    def test_is_accepted_when_all_of_them_do(self) -> None:
        @register_event
        @dataclass(frozen=True)
        class Leaf(Careful):
            event_type = "tests.leaf"

            def __post_init__(self) -> None:
                super().__post_init__()

        event = Leaf()
        assert event.correlation_id == event.event_id


class Restless:
    """Un nom d’événement qui, chaque fois qu’on le lit, abonne quelqu’un.

    C’est ce que ferait un autre fil d’exécution au pire moment de la publication.
    """

    def __init__(self) -> None:
        self.armed = False
        self.runs: dict[int, int] = {}

    def __get__(self, instance: object, owner: type) -> str:
        if self.armed:
            self.armed = False
            number = len(self.runs)
            self.runs[number] = 0
            subscribe_sync("tests.restless", lambda event: self.count(number))
            self.armed = True
        return "tests.restless"

    def count(self, number: int) -> None:
        self.runs[number] += 1


def test_a_subscription_made_while_publishing_is_never_forgotten() -> None:
    name = Restless()

    @register_event
    @dataclass(frozen=True)
    class Watched(DomainEvent):
        event_type = name

    name.armed = True
    publish_event(Watched())
    name.armed = False
    assert len(name.runs) > 1
    before = dict(name.runs)

    publish_event(Watched())

    assert name.runs == {number: count + 1 for number, count in before.items()}


class TestDeliverPending(TestCase):
    def test_what_a_handler_receives_came_through_json(self) -> None:
        """Un texte relu de JSON est un autre objet : rien n’est partagé avec celui qui publie."""
        seen: list[Any] = []
        with isolated_bus():
            subscribe_async(OrderPlaced, seen.append, name="seen")
            event = OrderPlaced(order_id="order number seven", items=["a fountain pen"])
            publish_event(event)
            deliver_pending()

        (received,) = seen
        assert received == event
        assert received.order_id is not event.order_id
        assert received.items[0] is not event.items[0]

    def test_each_handler_is_run_once_in_the_order_of_publication(self) -> None:
        order: list[str] = []
        with isolated_bus():
            for name in ("a", "b"):
                subscribe_async(
                    OrderPlaced, lambda event, n=name: order.append(event.order_id + n), name=name
                )
            for number in "12":
                publish_event(OrderPlaced(order_id=number))
            assert deliver_pending()
            assert not deliver_pending()

        assert order == ["1a", "1b", "2a", "2b"]

    def test_a_handler_that_fails_leaves_nothing_half_done_and_is_not_run_again(self) -> None:
        runs: list[Any] = []

        def fail(event: OrderPlaced) -> None:
            runs.append(event)
            raise ValueError("no paper left")

        with isolated_bus():
            subscribe_async(OrderPlaced, fail, name="fail")
            publish_event(OrderPlaced())
            with pytest.raises(ValueError, match="no paper left"):
                deliver_pending()
            assert not deliver_pending()

        assert len(runs) == 1
