import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from src.share_kernel.domain.domain_event import DomainEvent, SubscriptionError, register_event
from src.share_kernel.infrastructure.event_bus import (
    EventBus,
    event_bus,
    publish_event,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.infrastructure.subscriptions import Subscription
from tests.share_kernel.events import OrderPlaced


def count_order(event: OrderPlaced) -> None: ...


def count_again(event: OrderPlaced) -> None: ...


async def count_later(event: OrderPlaced) -> None: ...


class Ledger:
    def record(self, event: OrderPlaced) -> None: ...

    @classmethod
    def rebuild(cls, event: OrderPlaced) -> None: ...

    def __call__(self, event: OrderPlaced) -> None: ...


class Later:
    async def __call__(self, event: OrderPlaced) -> None: ...


def placed() -> list[Subscription]:
    return [item for item in event_bus.subscriptions() if item.event_type == "shop.order_placed"]


def names() -> list[str]:
    return [item.name for item in placed()]


here = __name__
NAN = math.nan


class TestForms:
    def test_by_name(self) -> None:
        assert subscribe_sync("shop.order_placed", count_order) is count_order
        assert names() == [f"{here}.count_order"]

    def test_by_class(self) -> None:
        assert subscribe_async(OrderPlaced, count_order) is count_order
        assert names() == [f"{here}.count_order"]

    def test_as_a_decorator(self) -> None:
        assert subscribe_sync(OrderPlaced)(count_order) is count_order
        assert (
            subscribe_async(OrderPlaced, max_attempts=3, queue="slow")(count_again) is count_again
        )

        sync, late = placed()
        assert (sync.is_async, sync.handler) == (False, count_order)
        assert (late.is_async, late.max_attempts, late.queue) == (True, 3, "slow")

    @pytest.mark.parametrize("event_type", [None, 3, int, object()])
    def test_anything_else_is_refused(self, event_type: Any) -> None:
        with pytest.raises(
            SubscriptionError, match="neither an event name nor a DomainEvent class"
        ):
            subscribe_sync(event_type, count_order)

    @pytest.mark.parametrize("subscribe", [subscribe_sync, subscribe_async])
    def test_a_decorator_without_its_event_is_refused(self, subscribe: Callable[..., Any]) -> None:
        with pytest.raises(
            SubscriptionError, match="neither an event name nor a DomainEvent class"
        ):
            subscribe(count_order)


def test_a_builtin_without_a_signature_is_believed() -> None:
    blind: Any = min

    subscribe_sync(OrderPlaced, blind, name="least")

    assert names() == ["least"]


class TestTwice:
    @pytest.mark.parametrize("subscribe", [subscribe_sync, subscribe_async])
    def test_the_same_handler_twice_is_one_subscription(
        self, subscribe: Callable[..., Any]
    ) -> None:
        subscribe(OrderPlaced, count_order)
        subscribe("shop.order_placed", count_order)

        assert names() == [f"{here}.count_order"]

    def test_a_bound_method_twice_is_one_subscription(self) -> None:
        ledger = Ledger()
        subscribe_sync(OrderPlaced, ledger.record)
        subscribe_sync(OrderPlaced, ledger.record)

        assert len(names()) == 1

    @pytest.mark.parametrize("subscribe", [subscribe_sync, subscribe_async])
    def test_a_redefined_function_replaces_the_former(self, subscribe: Callable[..., Any]) -> None:
        namespace: dict[str, Any] = {"__name__": "shop.handlers"}
        for _ in range(2):
            exec("def ship(event): ...", namespace)
            subscribe(OrderPlaced, namespace["ship"])

        assert names() == ["shop.handlers.ship"]
        assert placed()[0].handler is namespace["ship"]

    def test_two_lambdas_are_two_sync_handlers(self) -> None:
        subscribe_sync(OrderPlaced, lambda event: None)
        subscribe_sync(OrderPlaced, lambda event: None)

        assert len(names()) == 2

    def test_two_functions_under_one_async_name_are_an_error(self) -> None:
        subscribe_async(OrderPlaced, count_order, name="count")

        with pytest.raises(
            SubscriptionError, match=r"Two functions .*'count'.*count_order.*count_a"
        ):
            subscribe_async(OrderPlaced, count_again, name="count")
        assert names() == ["count"]

    def test_two_lambdas_under_one_async_name_are_an_error(self) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="count")

        with pytest.raises(SubscriptionError, match="under the name 'count'"):
            subscribe_async(OrderPlaced, lambda event: None, name="count")

    def test_a_handler_may_be_both_sync_and_async(self) -> None:
        subscribe_sync(OrderPlaced, count_order)
        subscribe_async(OrderPlaced, count_order)

        assert len(names()) == 2


class TestStableNames:
    @pytest.mark.parametrize(
        "handler",
        [lambda event: None, Ledger(), Ledger().record, functools.partial(count_order)],
        ids=["lambda", "instance", "bound method", "partial"],
    )
    def test_an_async_handler_without_one_is_refused(self, handler: Any) -> None:
        with pytest.raises(SubscriptionError, match=r"no name that another process.*pass name="):
            subscribe_async(OrderPlaced, handler)
        subscribe_sync(OrderPlaced, handler)
        subscribe_async(OrderPlaced, handler, name="ledger")

        assert names()[-1] == "ledger"

    def test_a_local_function_needs_a_name(self) -> None:
        def local(event: OrderPlaced) -> None: ...

        with pytest.raises(SubscriptionError, match="a local function"):
            subscribe_async(OrderPlaced, local)

    def test_a_class_method_has_one(self) -> None:
        subscribe_async(OrderPlaced, Ledger.rebuild)

        assert names() == [f"{here}.Ledger.rebuild"]

    def test_a_function_of_the_shell_has_one(self) -> None:
        namespace: dict[str, Any] = {}
        exec("def ship(event): ...", namespace)
        namespace["ship"].__module__ = None
        subscribe_async(OrderPlaced, namespace["ship"])

        assert names() == ["__main__.ship"]


BAD_OPTIONS: list[dict[str, Any]] = [
    *({"max_attempts": value} for value in ("3", True, 0, -1, 2.5, 3.0, NAN, 32_001, 10**30, [3])),
    *({"queue": value} for value in (3, "", b"slow", True, ["slow"], "a\nb", "q" * 256)),
    *({"atomic": value} for value in (None, 0, "no", "")),
    *(
        {"atomic": False, "claim": value}
        for value in (
            math.inf,
            NAN,
            366 * 86400 + 1,
            1e12,
            10**400,
            0,
            -1.0,
            "60",
            True,
            Decimal(60),
        )
    ),
    {"claim": 60},  # only a handler without a transaction is reserved by the clock
]


class TestRefused:
    @pytest.mark.parametrize("handler", [count_later, Later(), functools.partial(count_later)])
    def test_a_coroutine_cannot_be_sync(self, handler: Any) -> None:
        with pytest.raises(SubscriptionError, match="cannot run inside the transaction"):
            subscribe_sync(OrderPlaced, handler)

    @pytest.mark.parametrize("handler", [lambda: None, lambda a, b: None, lambda *, event: None])
    def test_a_handler_takes_one_argument(self, handler: Any) -> None:
        with pytest.raises(SubscriptionError, match="it must take one argument, the event"):
            subscribe_sync(OrderPlaced, handler)

    def test_what_cannot_be_called(self) -> None:
        with pytest.raises(SubscriptionError, match="'ship' cannot handle .* not callable"):
            subscribe_sync(OrderPlaced, "ship")  # type: ignore[call-overload]

    @pytest.mark.parametrize("option", BAD_OPTIONS, ids=repr)
    def test_an_option_that_means_nothing(self, option: dict[str, Any]) -> None:
        """Au démarrage, plutôt qu’à la livraison, où il n’y aurait plus personne à qui le dire."""
        (name,) = option.keys() - {"atomic"} or {"atomic"}

        with pytest.raises(SubscriptionError, match=rf"count_order.*{name} is ") as refused:
            subscribe_async(OrderPlaced, count_order, **option)

        assert repr(option[name])[:100] in str(refused.value)
        assert placed() == []

    @pytest.mark.parametrize("name", [3, True, b"count", ["count"], ""], ids=repr)
    @pytest.mark.parametrize("subscribe", [subscribe_sync, subscribe_async])
    def test_a_name_that_is_none(self, subscribe: Callable[..., Any], name: Any) -> None:
        with pytest.raises(SubscriptionError, match=r"count_order.* name "):
            subscribe(OrderPlaced, count_order, name=name)

        assert placed() == []

    @pytest.mark.parametrize(
        "options",
        [
            {"max_attempts": 1},
            {"max_attempts": 32_000},
            {"queue": "slow"},
            {"queue": "une file, là-bas"},
            {"atomic": False, "claim": 60},
            {"atomic": False, "claim": 0.5},
            {"atomic": False, "claim": 366 * 86400},
            {"max_attempts": None, "queue": None, "claim": None, "name": None},
        ],
        ids=repr,
    )
    def test_an_option_that_means_something(self, options: Any) -> None:
        subscribe_async(OrderPlaced, count_order, **options)

        (subscription,) = placed()
        shown = {key: getattr(subscription, key) for key in options if key != "name"}
        assert shown == {key: value for key, value in options.items() if key != "name"}


class TestUnsubscribe:
    def test_undoes_a_subscription(self) -> None:
        seen: list[Any] = []
        subscribe_sync(OrderPlaced, seen.append)
        publish_event(OrderPlaced())

        assert unsubscribe(OrderPlaced, seen.append) is True
        publish_event(OrderPlaced())

        assert len(seen) == 1

    def test_says_when_there_was_none(self) -> None:
        assert unsubscribe("shop.order_placed", count_order) is False


class TestThreads:
    def test_subscribing_while_another_thread_publishes(self) -> None:
        """Rien ne se perd ni ne casse : chaque publication voit un état entier."""
        stop, errors = threading.Event(), []

        def publish() -> None:
            try:
                while not stop.is_set():
                    publish_event(OrderPlaced())
            except Exception as error:
                errors.append(error)

        publisher = threading.Thread(target=publish)
        publisher.start()
        seen: list[Any] = []
        for _ in range(300):
            handler = functools.partial(lambda event: None)
            subscribe_sync(OrderPlaced, handler)
            unsubscribe(OrderPlaced, handler)
        subscribe_sync(OrderPlaced, seen.append)
        stop.set()
        publisher.join()
        before = len(seen)
        publish_event(OrderPlaced())

        assert errors == []
        assert len(seen) == before + 1


def test_another_bus_keeps_its_own_subscriptions() -> None:
    @register_event
    @dataclass(frozen=True)
    class Local(DomainEvent):
        event_type = "tests.local"

    bus, seen = EventBus(), []  # type: ignore[var-annotated]
    bus.subscribe_sync(Local, seen.append)

    publish_event(Local())
    bus.publish(Local())

    assert len(seen) == 1
