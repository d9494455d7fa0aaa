"""Le registre : une ligne si la transaction est validée, un effet une seule fois."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    PermanentFailure,
    RetryAfter,
)
from src.share_kernel.infrastructure import handling
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    subscribe_sync,
    unsubscribe,
)
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from src.share_kernel.testing import deliver_pending
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.one_row import deliver_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

Seen = list[Any]


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def fail(event: DomainEvent) -> None:
    raise ValueError("no paper left")


def only() -> Delivery:
    return Delivery.objects.get()


def bring_forward(**conditions: Any) -> None:
    """Fait comme si les délais étaient écoulés."""
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(**conditions).update(start_after=past, send_after=past)


class TestEnrolment:
    def test_a_row_exists_if_and_only_if_the_transaction_commits(self, seen: Seen) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_event(OrderPlaced())
            raise ZeroDivisionError
        assert not Delivery.objects.exists()

        with transaction.atomic():
            publish_event(OrderPlaced())
        assert Delivery.objects.count() == 1
        assert seen == []  # never in the request

    def test_a_savepoint_takes_its_rows_away(self, seen: Seen) -> None:
        with transaction.atomic():
            publish_event(OrderPlaced())
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                publish_event(OrderPlaced())
                raise ZeroDivisionError

        assert Delivery.objects.count() == 1

    def test_a_row_holds_the_event_in_strict_ascii_json(self, seen: Seen) -> None:
        event = OrderPlaced(order_id="é\0\u2028", tenant_id="acme")

        publish_event(event)

        row = only()
        assert row.payload.isascii()
        assert DomainEvent.from_dict(json.loads(row.payload)) == event
        assert (row.event_id, row.event_type, row.event_version, row.handler, row.depth) == (
            event.event_id, "shop.order_placed", 1, "seen", 0,
        )  # fmt: skip
        assert (row.state, row.attempts, row.sends, row.error) == ("pending", 0, 0, "")

    def test_one_row_per_handler_and_none_for_sync_ones(self, seen: Seen) -> None:
        subscribe_async(OrderPlaced, fail)
        subscribe_sync(OrderPlaced, lambda event: None)

        publish_event(OrderPlaced())

        assert Delivery.objects.count() == 2

    def test_the_same_event_published_twice_is_delivered_once(self, seen: Seen) -> None:
        event = OrderPlaced()
        publish_event(event)
        publish_event(event)

        relay(execute=True)

        assert len(seen) == 1

    def test_a_bulk_publication_writes_in_one_insert(
        self, seen: Seen, django_assert_num_queries: Callable[..., Any]
    ) -> None:
        with transaction.atomic(), django_assert_num_queries(1):
            publish_events([OrderPlaced() for _ in range(50)])

        assert Delivery.objects.count() == 50


class TestDelivery:
    def test_the_relay_delivers_and_settles(self, seen: Seen) -> None:
        event = OrderPlaced()
        publish_event(event)

        assert relay(execute=True) == 1
        assert relay(execute=True) == 0

        assert seen == [event]
        row = only()
        assert (row.state, row.attempts) == ("done", 1)
        assert row.settled_at is not None

    def test_the_effect_and_the_settlement_commit_together(self) -> None:
        """Si la ligne ne peut pas être soldée, ce que le handler a écrit est annulé."""

        def hire(event: OrderPlaced) -> None:
            Tenant.objects.create(slug="acme", schema_name="acme")
            Delivery.objects.all().delete()

        subscribe_async(OrderPlaced, hire, name="hire")
        publish_event(OrderPlaced())

        relay(execute=True)

        assert not Tenant.objects.exists()
        assert (only().state, only().attempts) == ("pending", 1)
        assert "its delivery is no longer reserved for it" in only().error

    def test_a_failure_waits_and_does_not_stop_the_others(self, seen: Seen) -> None:
        subscribe_async(OrderPlaced, fail)
        publish_event(OrderPlaced())

        relay(execute=True)

        failed = Delivery.objects.get(handler__endswith="fail")
        assert (failed.state, failed.attempts) == ("pending", 1)
        assert failed.error == "ValueError: no paper left"
        assert len(seen) == 1

    def test_seven_wake_ups_of_a_failing_row_count_one_attempt(self) -> None:
        subscribe_async(OrderPlaced, lambda event: (_ for _ in ()).throw(RetryAfter(60)), name="f")
        publish_event(OrderPlaced())

        outcomes = [deliver_row(only().pk, "default") for _ in range(7)]

        assert outcomes == [True, *[False] * 6]
        assert only().attempts == 1

    def test_retry_after_holds_against_a_forged_wake_up(self) -> None:
        def wait(event: OrderPlaced) -> None:
            raise RetryAfter(3600, "closed for lunch")

        subscribe_async(OrderPlaced, wait, name="wait")
        publish_event(OrderPlaced())
        relay(execute=True)

        assert deliver_row(str(only().pk), "default") is False
        row = only()
        assert timedelta(minutes=59) < row.start_after - timezone.now() <= timedelta(hours=1)
        assert row.error == "RetryAfter: closed for lunch"

    def test_an_unknown_row_is_no_attempt(self) -> None:
        assert deliver_row(uuid.uuid4(), "default") is False

    def test_the_last_failure_leaves_a_dead_row(
        self, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.EVENT_BUS = {"MAX_ATTEMPTS": 3}
        subscribe_async(OrderPlaced, fail)
        event = OrderPlaced()
        publish_event(event)

        for _ in range(5):
            bring_forward()
            relay(execute=True)

        row = only()
        assert (row.state, row.attempts, row.error) == ("dead", 3, "ValueError: no paper left")
        assert f"Gave up on handler {__name__}.fail for event shop.order_placed" in caplog.text
        assert str(event.event_id) in caplog.text
        correlations = {vars(record).get("correlation_id") for record in caplog.records}
        assert correlations == {str(event.correlation_id)}

    def test_a_permanent_failure_is_dead_at_once(self) -> None:
        def refuse(event: OrderPlaced) -> None:
            raise PermanentFailure("left the company")

        subscribe_async(OrderPlaced, refuse, name="refuse")
        publish_event(OrderPlaced())
        relay(execute=True)

        assert (only().state, only().attempts) == ("dead", 1)

    def test_a_process_lost_too_often_is_given_up(self, seen: Seen, settings: Any) -> None:
        """Un handler qui tue son processus laisse un essai compté et rien d’autre."""
        settings.EVENT_BUS = {"MAX_ATTEMPTS": 2}
        publish_event(OrderPlaced())
        Delivery.objects.update(attempts=2)

        relay(execute=True)

        assert only().state == "dead"
        assert "its process was lost" in only().error
        assert seen == []

    def test_events_caused_by_a_delivery_are_enrolled_with_it(self) -> None:
        subscribe_async(OrderPlaced, lambda event: publish_event(OrderPaid()), name="pay")
        paid: Seen = []
        subscribe_async(OrderPaid, paid.append, name="paid")
        placed = OrderPlaced()
        publish_event(placed)

        relay(execute=True)
        relay(execute=True)

        assert paid[0].causation_id == placed.event_id
        assert Delivery.objects.get(handler="paid").depth == 1


@contextmanager
def broken_tenant(tenant_id: str) -> Iterator[None]:
    """Un contexte de tenant dont l’ouverture échoue dans la base."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nonsense FROM nowhere")
    yield


def test_a_database_error_of_the_tenants_context_is_an_attempt(seen: Seen, settings: Any) -> None:
    settings.EVENT_BUS = {"TENANT_CONTEXT": f"{__name__}.broken_tenant"}
    publish_event(OrderPlaced(tenant_id="acme"))

    relay(execute=True)

    assert (only().state, only().attempts) == ("pending", 1)
    assert "nowhere" in only().error


@contextmanager
def indulgent_tenant(tenant_id: str) -> Iterator[None]:
    with suppress(ValueError):
        yield


def test_what_the_tenants_context_swallows_is_a_failure_all_the_same(settings: Any) -> None:
    settings.EVENT_BUS = {"TENANT_CONTEXT": f"{__name__}.indulgent_tenant"}

    def fail(event: OrderPlaced) -> None:
        Tenant.objects.create(slug="written")
        raise ValueError("no paper left")

    subscribe_async(OrderPlaced, fail, name="fail")
    publish_event(OrderPlaced(tenant_id="acme"))

    relay(execute=True)

    row = Delivery.objects.get()
    assert (row.state, row.attempts) == ("pending", 1)
    assert "no paper left" in row.error
    assert not Tenant.objects.exists()


class TestDeploySkew:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda row: setattr(row, "handler", "added.today"), "is named 'added.today'"),
            (lambda row: edit(row, event_type="shop.new"), "registered as 'shop.new'"),
            (lambda row: edit(row, event_version=9), "of version 9"),
        ],
        ids=["unknown handler", "unknown event", "newer version"],
    )
    def test_waits_for_a_day_without_using_attempts(
        self, seen: Seen, change: Callable[[Delivery], None], words: str
    ) -> None:
        publish_event(OrderPlaced())
        row = only()
        change(row)
        row.save()

        relay(execute=True)

        row = only()
        assert (row.state, row.attempts) == ("pending", 0)
        assert words in row.error
        assert row.start_after > timezone.now() + timedelta(minutes=5)

        long_ago = timezone.now() - timedelta(
            seconds=handling.SKEW_DELAY * handling.SKEW_ATTEMPTS + 60
        )
        Delivery.objects.update(pending_since=long_ago)
        bring_forward()
        relay(execute=True)
        assert only().state == "dead"

    def test_is_delivered_once_deployed(self, seen: Seen) -> None:
        publish_event(OrderPlaced())
        unsubscribe(OrderPlaced, seen.append)
        relay(execute=True)
        assert only().state == "pending"

        subscribe_async(OrderPlaced, seen.append, name="seen")
        bring_forward()
        relay(execute=True)

        assert len(seen) == 1


def edit(row: Delivery, **changes: Any) -> None:
    row.payload = json.dumps(json.loads(row.payload) | changes)


class TestHandEditedRows:
    @pytest.mark.parametrize(
        "payload",
        [
            "",
            "{",
            "null",
            "42",
            "[]",
            '{"event_type": 3}',
            '{"event_type": "shop.order_placed"}',
            '{"total": NaN}',
            "[" * 100_000,
        ],
        ids=lambda text: text[:20],
    )
    def test_a_broken_payload_is_retried_then_given_up_never_lost(
        self, seen: Seen, payload: str, settings: Any
    ) -> None:
        settings.EVENT_BUS = {"MAX_ATTEMPTS": 2}
        publish_event(OrderPlaced())
        Delivery.objects.update(payload=payload)

        for _ in range(3):
            bring_forward()
            relay(execute=True)

        row = only()
        assert row.state == "dead"
        assert "Error" in row.error
        assert row.payload == payload
        assert seen == []

    def test_an_error_of_strange_characters_is_kept(self) -> None:
        def strange(event: OrderPlaced) -> None:
            raise ValueError("nul \0 and surrogate \ud800")

        subscribe_async(OrderPlaced, strange, name="strange")
        publish_event(OrderPlaced())
        relay(execute=True)

        assert only().error == r"ValueError: nul \0 and surrogate \ud800"


class TestCommands:
    def run(self, *args: str) -> str:
        stream = StringIO()
        call_command(*args, stdout=stream)
        return stream.getvalue()

    def test_relay_events_drains_and_stops(self, seen: Seen) -> None:
        publish_events([OrderPlaced() for _ in range(5)])

        assert "5 relayed." in self.run("relay_events", "--execute", "--once")
        assert len(seen) == 5

    def test_relaying_to_nobody_is_an_error(self) -> None:
        with pytest.raises(CommandError, match="Celery has no broker here.*Pass --execute"):
            self.run("relay_events", "--once")

    def test_replay_revives_dead_rows_only(self, seen: Seen) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])
        dead = Delivery.objects.first()
        assert dead is not None
        Delivery.objects.filter(pk=dead.pk).update(
            state="dead", attempts=8, settled_at=timezone.now()
        )

        assert "would be replayed: 1." in self.run("replay_events", "--all", "--dry-run")
        assert "will be replayed: 1." in self.run("replay_events", "--handler", "seen")

        dead.refresh_from_db()
        assert (dead.state, dead.attempts) == ("pending", 0)

    def test_replay_asks_what_to_replay(self) -> None:
        with pytest.raises(CommandError, match="or pass --all"):
            self.run("replay_events")

    def test_status_counts_and_tells_a_monitor(self, seen: Seen) -> None:
        assert "The register is empty." in self.run("events_status")
        publish_event(OrderPlaced())
        Delivery.objects.update(pending_since=timezone.now() - timedelta(seconds=90))

        (row,) = json.loads(self.run("events_status", "--json"))
        assert (row["state"], row["handler"], row["count"]) == ("pending", "seen", 1)
        assert 89 < row["oldest_seconds"] < 120
        assert "pending  seen" in self.run("events_status", "--fail-if-older-than", "600")
        with pytest.raises(SystemExit) as status:
            self.run("events_status", "--fail-if-older-than", "60")
        assert status.value.code == 1

    def test_status_may_fail_on_a_dead_row(self, seen: Seen) -> None:
        publish_event(OrderPlaced())
        self.run("events_status", "--fail-if-dead")
        Delivery.objects.update(state="dead", settled_at=timezone.now())

        with pytest.raises(SystemExit):
            self.run("events_status", "--fail-if-dead")

    def test_prune_deletes_settled_rows_only(self, seen: Seen) -> None:
        publish_events([OrderPlaced() for _ in range(3)])
        old = timezone.now() - timedelta(days=40)
        done, dead, _pending = Delivery.objects.all()
        Delivery.objects.filter(pk=done.pk).update(state="done", settled_at=old)
        Delivery.objects.filter(pk=dead.pk).update(state="dead", settled_at=old)
        Delivery.objects.update(created_at=old, pending_since=old)

        assert "deleted: 1." in self.run("prune_events")
        assert "deleted: 1." in self.run("prune_events", "--dead")
        assert "deleted: 0." in self.run("prune_events", "--dead", "--days", "0")
        assert only().state == "pending"


class TestAdmin:
    @pytest.fixture
    def client(self) -> Client:
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        return client

    def test_shows_a_readable_payload_and_no_form(self, seen: Seen, client: Client) -> None:
        publish_event(OrderPlaced(order_id="é-1"))

        listing = client.get("/admin/share_kernel_outbox/delivery/")
        page = client.get(f"/admin/share_kernel_outbox/delivery/{only().pk}/change/")

        assert b"shop.order_placed" in listing.content
        assert "&quot;order_id&quot;: &quot;é-1&quot;" in page.content.decode()
        assert b'<input type="text"' not in page.content
        assert client.get("/admin/share_kernel_outbox/delivery/add/").status_code == 403

    def test_replays_and_gives_up(self, seen: Seen, client: Client) -> None:
        publish_event(OrderPlaced())

        self.act(client, "give_up_selected")
        assert (only().state, only().error) == ("dead", "Given up by root")
        self.act(client, "replay_selected")
        assert only().state == "pending"

    @pytest.mark.parametrize(
        ("right", "state"), [("view_delivery", "pending"), ("change_delivery", "dead")]
    )
    def test_acting_takes_more_than_the_right_to_look(
        self, seen: Seen, right: str, state: str
    ) -> None:
        user = User.objects.create_user("clerk", is_staff=True)
        ContentType.objects.clear_cache()  # the database was emptied since
        kind = ContentType.objects.get_for_model(Delivery)
        Permission.objects.get_or_create(codename=right, content_type=kind)
        user.user_permissions.add(Permission.objects.get(codename=right))
        clerk = Client()
        clerk.force_login(user)
        publish_event(OrderPlaced())

        self.act(clerk, "give_up_selected")

        listing = clerk.get("/admin/share_kernel_outbox/delivery/")
        assert b"shop.order_placed" in listing.content
        assert only().state == state

    def test_no_form_writes_over_what_a_worker_settles(self, seen: Seen, client: Client) -> None:
        publish_event(OrderPlaced())
        address = f"/admin/share_kernel_outbox/delivery/{only().pk}/change/"

        assert b'name="_save"' not in client.get(address).content
        assert client.post(address, {}).status_code == 403

    def act(self, client: Client, action: str) -> None:
        client.post(
            "/admin/share_kernel_outbox/delivery/",
            {"action": action, "_selected_action": [str(only().pk)]},
        )


def test_deliver_pending_settles_the_rows(seen: Seen) -> None:
    with transaction.atomic():
        publish_event(OrderPlaced())
        assert deliver_pending() == ["seen"]
        assert only().state == "done"

    assert relay(execute=True) == 0
    assert len(seen) == 1
