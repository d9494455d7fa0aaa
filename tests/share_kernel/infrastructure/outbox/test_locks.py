"""Une base occupée, une ligne prise, une connexion perdue : ce n’est la faute d’aucun handler."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import current_app
from django.db import OperationalError, connection, connections

from src.share_kernel.domain.domain_event import DomainEvent
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from src.share_kernel.infrastructure.outbox import delivering
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.one_row import deliver_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

Seen = list[Any]
TABLE = "share_kernel_outbox_delivery"


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def only() -> Delivery:
    return Delivery.objects.get()


@contextmanager
def before_statements(act: Callable[[int, str], None]) -> Iterator[None]:
    """Appelle *act* avant chaque requête sur la table, avec son rang et son texte."""
    rank = 0

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal rank
        if TABLE in sql:
            rank += 1
            act(rank, sql)
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield


def busy_at(*ranks: int, text: str = "database is locked") -> Callable[[int, str], None]:
    def act(rank: int, sql: str) -> None:
        if rank in ranks:
            raise OperationalError(text)

    return act


READ, CLAIM, LOCK, GIVE_BACK = 1, 2, 3, 4  # the statements of a delivery, in their order


@pytest.mark.parametrize("rank", [READ, CLAIM])
def test_a_base_too_busy_to_reserve_the_row_costs_nothing(
    seen: Seen, rank: int, caplog: pytest.LogCaptureFixture
) -> None:
    publish_event(OrderPlaced())

    pk = only().pk
    with caplog.at_level(logging.INFO), before_statements(busy_at(rank)):
        assert deliver_row(pk, "default") is False

    assert "The register is busy" in caplog.text
    assert (only().attempts, seen) == (0, [])
    assert deliver_row(only().pk, "default") is True


@pytest.mark.parametrize("refusals", [0, 1, 2])
def test_an_attempt_is_given_back_with_insistence(
    seen: Seen, refusals: int, caplog: pytest.LogCaptureFixture
) -> None:
    publish_event(OrderPlaced())
    busy = busy_at(LOCK, *range(GIVE_BACK, GIVE_BACK + refusals))

    pk = only().pk
    with before_statements(busy):
        assert deliver_row(pk, "default") is False

    assert (only().state, only().attempts, seen) == ("pending", 0, [])
    assert "handler seen) could not start, its attempt is given back" in caplog.text
    assert "database is locked" in caplog.text


@pytest.mark.parametrize("rank", [READ, CLAIM])
def test_another_error_of_the_database_is_not_taken_for_a_lock(seen: Seen, rank: int) -> None:
    publish_event(OrderPlaced())

    with before_statements(busy_at(rank, text="disk I/O error")), pytest.raises(OperationalError):
        relay(execute=True)

    assert (only().attempts, only().reserved_until, seen) == (0, None, [])


def test_a_row_that_another_has_taken_meanwhile_is_theirs(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    publish_event(OrderPlaced())

    def rob(rank: int, sql: str) -> None:
        if rank == LOCK:
            with connection.cursor() as cursor:
                cursor.execute(f"UPDATE {TABLE} SET attempts = 2")

    pk = only().pk
    with before_statements(rob):
        assert deliver_row(pk, "default") is False

    # The theft was in this transaction, and went with it: nothing was done, nothing is counted.
    assert (only().state, only().attempts, seen) == ("pending", 0, [])
    assert caplog.records == []


def test_a_failure_is_not_written_over_what_another_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def robbed(event: DomainEvent) -> None:
        Delivery.objects.update(attempts=5)
        raise ValueError("no paper left")

    subscribe_async(OrderPlaced, robbed, name="robbed", atomic=False)
    publish_event(OrderPlaced())

    relay(execute=True)

    assert (only().attempts, only().error) == (5, "")
    assert f"Delivery {only().pk} was taken by another process" in caplog.text
    assert "no paper left" in caplog.text


class TestBrokenConnections:
    @pytest.fixture
    def closed(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        calls: list[str] = []
        monkeypatch.setattr(connections["default"], "close", lambda: calls.append("closed"))
        monkeypatch.setattr(connections["default"], "errors_occurred", True)
        return calls

    @pytest.mark.parametrize(("usable", "expected"), [(True, []), (False, ["closed"])])
    def test_are_let_go_if_they_do_not_answer(
        self,
        closed: list[str],
        monkeypatch: pytest.MonkeyPatch,
        usable: bool,
        expected: list[str],
    ) -> None:
        connections["default"].ensure_connection()
        monkeypatch.setattr(connections["default"], "is_usable", lambda: usable)

        delivering.drop_broken_connections()

        assert closed == expected
        assert connections["default"].errors_occurred is not usable

    def test_are_kept_inside_a_transaction(
        self, closed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections["default"], "in_atomic_block", True)

        delivering.drop_broken_connections()

        assert closed == []


class TestTheWakeUpTask:
    def deliver(self, *args: Any) -> None:
        current_app.tasks["share_kernel.deliver"].run(*args)

    def test_goes_on_after_a_row_that_fails(
        self, seen: Seen, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_event(OrderPlaced())
        publish_event(OrderPlaced())
        ids = [str(pk) for pk in Delivery.objects.values_list("pk", flat=True)]

        with before_statements(busy_at(LOCK)):
            self.deliver(["nonsense", None, *ids])

        assert len(seen) == 1
        for words in ("\"'nonsense'\", which is not a delivery", "'None', which", "given back"):
            assert words in caplog.text

    @pytest.mark.parametrize("using", ["nope", None, ["default"], 3])
    def test_of_an_unknown_database_says_so(
        self, using: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.deliver([], using)

        assert f"{using!r} doesn't exist here" in caplog.text

    @pytest.mark.parametrize("ids", [None, 3, "text", {}])
    def test_of_anything_else_does_nothing(self, ids: Any, seen: Seen) -> None:
        publish_event(OrderPlaced())

        self.deliver(ids)

        assert seen == []
