"""Les vérifications qui regardent les handlers abonnés."""

from typing import Any

import pytest
from celery import current_app
from django.core.checks import run_checks
from kombu import Queue

from src.share_kernel.infrastructure.event_bus import subscribe_async, subscribe_sync
from tests.share_kernel.events import OrderPaid, OrderPlaced


def found(code: str) -> list[str]:
    messages = run_checks(tags=["share_kernel"])
    return [f"{item.msg} {item.hint}" for item in messages if item.id == f"share_kernel.{code}"]


def imported_as(module: str) -> Any:
    """Une fonction telle que la voit qui importe son fichier sous ce nom."""
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile("\n\ndef ship(event): ...", "/project/shop/handlers.py", "exec"), namespace)
    return namespace["ship"]


class TestTwoModuleNames:
    @pytest.mark.parametrize("subscribe", [subscribe_sync, subscribe_async])
    def test_of_one_function_are_named(self, subscribe: Any) -> None:
        subscribe(OrderPlaced, imported_as("shop.handlers"))
        subscribe(OrderPlaced, imported_as("project.shop.handlers"))

        (message,) = found("W004")
        assert "shop.handlers.ship and project.shop.handlers.ship" in message
        assert "called twice" in message

    def test_a_function_read_again_is_no_twin(self) -> None:
        for _ in range(2):
            subscribe_async(OrderPlaced, imported_as("shop.handlers"))

        assert found("W004") == []

    def test_nor_is_one_that_hears_two_events(self) -> None:
        ship = imported_as("shop.handlers")
        subscribe_async(OrderPlaced, ship)
        subscribe_async(OrderPaid, ship)

        assert found("W004") == []

    def test_nor_are_lambdas_of_one_line(self) -> None:
        for name in ("a", "b"):
            subscribe_async(OrderPlaced, lambda event: None, name=name)

        assert found("W004") == []


class TestQueues:
    @pytest.fixture(autouse=True)
    def _strict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(current_app.conf, "broker_url", "memory://")
        monkeypatch.setitem(current_app.conf, "task_create_missing_queues", False)
        monkeypatch.setitem(current_app.conf, "task_queues", [Queue("celery"), Queue("slow")])

    def test_one_that_does_not_exist_is_named(self) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="h", queue="tpyo")

        (message,) = found("W005")
        assert "Handler h is subscribed with queue='tpyo'" in message
        assert "celery, slow" in message

    @pytest.mark.parametrize("queue", [None, "slow"])
    def test_those_that_exist_are_fine(self, queue: str | None) -> None:
        subscribe_async(OrderPlaced, lambda event: None, name="h", queue=queue)

        assert found("W005") == []

    def test_celery_may_create_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(current_app.conf, "task_create_missing_queues", True)
        subscribe_async(OrderPlaced, lambda event: None, name="h", queue="tpyo")

        assert found("W005") == []
