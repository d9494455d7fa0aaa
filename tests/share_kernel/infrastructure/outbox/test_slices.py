"""Ce qui écrit beaucoup de lignes les écrit par tranches : personne n’attend longtemps."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
)
from src.share_kernel.infrastructure.outbox import models
from src.share_kernel.infrastructure.outbox.models import NOT_SENT, WAITING, Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPlaced

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

DAY = timedelta(days=1)

Act = Callable[[], int]


def make(count: int, **columns: Any) -> list[Delivery]:
    """Publie, puis met les lignes nouvelles dans cet état."""
    subscribe_async(OrderPlaced, lambda event: None, name="h")
    before = set(Delivery.objects.values_list("pk", flat=True))
    publish_events([OrderPlaced() for _ in range(count)])
    rows = Delivery.objects.exclude(pk__in=before)
    pks = [row.pk for row in rows]
    Delivery.objects.filter(pk__in=pks).update(**columns)
    return list(Delivery.objects.filter(pk__in=pks).order_by("position"))


def long_settled(state: str) -> dict[str, Any]:
    return {"state": state, "settled_at": timezone.now() - 40 * DAY}


ACTS: dict[str, tuple[Callable[[], dict[str, Any]], Act]] = {
    "prune": (
        lambda: long_settled("done"),
        lambda: Delivery.objects.prune(days=30, include_dead=False),
    ),
    "prune, dead": (
        lambda: long_settled("dead"),
        lambda: Delivery.objects.prune(days=30, include_dead=True),
    ),
    "prune, holding": (
        lambda: long_settled("holding") | {"key": "k"},
        lambda: Delivery.objects.prune(days=30, include_dead=True),
    ),
    "replay": (lambda: long_settled("dead"), Delivery.objects.replay),
    "replay, holding": (lambda: long_settled("holding"), Delivery.objects.replay),
    "give up": (dict, lambda: Delivery.objects.give_up("enough")),
    "give up, holding": (
        lambda: long_settled("holding"),
        lambda: Delivery.objects.give_up("enough"),
    ),
    "hurry": (
        lambda: {"error": f"{WAITING}x", "start_after": timezone.now() + DAY},
        lambda: Delivery.objects.waiting().hurry(),
    ),
    "hurry, not sent": (
        lambda: {"error": f"{NOT_SENT}x", "send_after": timezone.now() + DAY},
        lambda: Delivery.objects.waiting().hurry(),
    ),
}


MAY_WRITE = {  # the states that each is for
    "prune": ("done",),
    "prune, dead": ("done", "dead", "holding"),
    "prune, holding": ("done", "dead", "holding"),
    "replay": ("dead", "holding"),
    "replay, holding": ("dead", "holding"),
    "give up": ("pending", "holding"),
    "give up, holding": ("pending", "holding"),
    "hurry": ("pending",),
    "hurry, not sent": ("pending",),
}


@pytest.fixture(params=ACTS)
def act(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Act:
    """Sept lignes, par tranches de trois, dont toutes ont la même date."""
    monkeypatch.setattr(models, "SLICE", 3)
    columns, act = ACTS[request.param]
    make(7, **columns())
    return act


def test_all_rows_are_written_once(act: Act) -> None:
    assert act() == 7
    assert act() == 0


def test_no_statement_writes_more_than_a_slice(act: Act) -> None:
    largest = 0

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal largest
        result = execute(sql, params, many, context)
        if sql.startswith(("UPDATE", "DELETE")):
            largest = max(largest, context["cursor"].rowcount)
        return result

    with connection.execute_wrapper(count):
        act()

    assert largest == 3


def test_a_slice_is_committed_before_the_next_is_written(act: Act) -> None:
    """Une erreur, ou Ctrl-C, ne perd pas ce qui est fait."""
    slices, before = 0, list(Delivery.objects.values())

    def interrupt(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal slices
        if not sql.startswith(("UPDATE", "DELETE")):
            return execute(sql, params, many, context)
        result = execute(sql, params, many, context)
        slices += context["cursor"].rowcount > 0
        if slices == 2:
            raise KeyboardInterrupt
        return result

    with pytest.raises(KeyboardInterrupt), connection.execute_wrapper(interrupt):
        act()

    assert not connection.in_atomic_block
    left = list(Delivery.objects.values())
    assert sum(row not in left for row in before) in (3, 6)  # the second may be rolled back


@pytest.mark.parametrize("state", Delivery.State.values)
def test_a_row_that_changes_between_the_two_is_left_alone(
    act: Act, state: str, request: pytest.FixtureRequest
) -> None:
    """Lue, puis soldée ou ranimée par un autre avant d’être écrite."""
    now = timezone.now()
    settled_at = None if state == "pending" else now
    seen: list[Any] = []

    def change(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("UPDATE", "DELETE")) and not seen:
            seen.append(None)
            Delivery.objects.update(state=state, settled_at=settled_at, error="its", attempts=5)
            seen.extend(Delivery.objects.order_by("pk").values())
        return execute(sql, params, many, context)

    with connection.execute_wrapper(change):
        act()

    verb = request.node.callspec.params["act"]
    if state not in MAY_WRITE[verb]:
        assert list(Delivery.objects.order_by("pk").values()) == seen[1:]


def test_rows_that_stay_do_not_make_it_endless(act: Act) -> None:
    states = ("pending", "done", "dead", "holding")

    assert sum(len(rows) for rows in Delivery.objects.slices(*states)) <= 7


class TestHurry:
    def test_a_row_that_is_due_keeps_its_place(self) -> None:
        start, late = timezone.now() - DAY, timezone.now() + DAY
        make(1, error=f"{NOT_SENT}x", start_after=start, send_after=late, sends=4)

        Delivery.objects.waiting().hurry()

        (row,) = Delivery.objects.all()
        assert (row.start_after, row.sends) == (start, 0)
        assert row.send_after <= timezone.now()


class TestGivingUp:
    def test_what_holds_its_key_back_keeps_its_error(self) -> None:
        make(1, error="no paper left", **long_settled("holding"))
        (before,) = Delivery.objects.all()

        assert Delivery.objects.give_up("enough") == 1

        (row,) = Delivery.objects.all()
        assert (row.state, row.error) == ("dead", "no paper left")
        assert row.settled_at == before.settled_at

    @pytest.mark.parametrize("state", ["pending", "holding"])
    def test_lets_the_followers_of_its_key_start(self, state: str) -> None:
        head, follower, other = make(3, key="k", start_after=timezone.now() + DAY)
        settled_at = None if state == "pending" else timezone.now()
        Delivery.objects.filter(pk=head.pk).update(state=state, settled_at=settled_at)
        Delivery.objects.filter(pk=other.pk).update(key="another")
        assert relay(execute=True) == 0

        Delivery.objects.filter(pk=head.pk).give_up("enough")

        assert relay(execute=True) == 1
        states = {row.pk: row.state for row in Delivery.objects.all()}
        assert states == {head.pk: "dead", follower.pk: "done", other.pk: "pending"}

    def test_pruning_what_holds_a_key_back_lets_it_go_too(self) -> None:
        head, follower = make(2, key="k", start_after=timezone.now() + DAY)
        Delivery.objects.filter(pk=head.pk).update(**long_settled("holding"))

        assert Delivery.objects.prune(include_dead=True) == 1

        assert relay(execute=True) == 1
        assert Delivery.objects.get() == follower


class TestKeepDone:
    """``EVENT_BUS["KEEP_DONE"]`` : combien de jours une ligne faite reste."""

    @pytest.mark.parametrize(("kept", "days", "count"), [(30, 29, 0), (30, 31, 1), (7.5, 8, 1)])
    def test_is_what_pruning_keeps(self, settings: Any, kept: float, days: int, count: int) -> None:
        settings.EVENT_BUS = {"KEEP_DONE": kept}
        make(1, state="done", settled_at=timezone.now() - days * DAY)

        assert Delivery.objects.prune() == count

    def test_is_the_default_of_the_command(self, settings: Any, capsys: Any) -> None:
        settings.EVENT_BUS = {"KEEP_DONE": 3}
        make(1, state="done", settled_at=timezone.now() - 4 * DAY)

        call_command("prune_events")

        assert "deleted: 1." in capsys.readouterr().out

    def test_at_zero_deletes_a_row_with_its_success(self, settings: Any) -> None:
        settings.EVENT_BUS = {"KEEP_DONE": 0}
        make(3)

        assert relay(execute=True) == 3

        assert Delivery.objects.count() == 0

    def test_at_zero_keeps_what_failed(self, settings: Any) -> None:
        def fail(event: OrderPlaced) -> None:
            raise ValueError("no paper left")

        settings.EVENT_BUS = {"KEEP_DONE": 0}
        subscribe_async(OrderPlaced, fail, name="fails", max_attempts=1)
        subscribe_async(OrderPlaced, lambda event: None, name="h")
        publish_event(OrderPlaced())

        relay(execute=True)

        assert [(row.handler, row.state) for row in Delivery.objects.all()] == [("fails", "dead")]

    def test_at_zero_delivers_again_what_is_published_again(self, settings: Any) -> None:
        """Ce que cela coûte : personne ne sait plus que l’événement a été livré (D11)."""
        seen: list[OrderPlaced] = []
        subscribe_async(OrderPlaced, seen.append, name="seen")
        event = OrderPlaced()

        for kept, expected in ((30, 1), (30, 1), (0, 1), (0, 2)):
            settings.EVENT_BUS = {"KEEP_DONE": kept}
            if kept == 0 and expected == 1:
                Delivery.objects.all().delete()
                seen.clear()
            publish_event(event)
            relay(execute=True)
            assert len(seen) == expected

    def test_a_row_that_goes_while_its_event_is_published_again_is_no_error(self) -> None:
        event = OrderPlaced()
        subscribe_async(OrderPlaced, lambda event: None, name="h")
        publish_event(event)

        def settle_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("SELECT"):
                Delivery.objects.all()._raw_delete("default")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(settle_first):
            publish_event(event)

        assert Delivery.objects.count() == 0
