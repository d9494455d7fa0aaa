"""`using` : tout ce qui touche un événement reste dans la base que nomme celui qui publie."""

import itertools
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from src.share_kernel.domain.domain_event import DomainEvent, PermanentFailure, RetryAfter
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
    unsubscribe,
)
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from src.share_kernel.testing import deliver_pending
from tests.share_kernel.events import OrderPlaced
from tests.share_kernel.mailbox import Mailbox

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

OTHER = Delivery.objects.using("other")
Seen = list[Any]


@pytest.fixture(autouse=True)
def _only_there(transactional_db: None, outbox: None) -> Any:
    yield
    assert not Delivery.objects.exists()


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def command(*args: str) -> str:
    stream = StringIO()
    call_command(*args, "--database", "other", stdout=stream)
    return stream.getvalue()


def overdue(**values: Any) -> None:
    past = timezone.now() - timedelta(seconds=1)
    OTHER.update(**({"start_after": past, "send_after": past} | values))


def test_a_row_waits_for_the_commit_of_its_own_database(seen: Seen) -> None:
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="other"):
            publish_event(OrderPlaced(), using="other")
            raise ZeroDivisionError
        assert not OTHER.exists()
        publish_events([OrderPlaced(), OrderPlaced()], using="other")
    with transaction.atomic(using="default"):
        assert OTHER.count() == 2


def test_the_handler_runs_in_the_transaction_of_that_database() -> None:
    inside: list[tuple[bool, bool]] = []
    subscribe_async(
        OrderPlaced,
        lambda event: inside.append(
            (connections["other"].in_atomic_block, connections["default"].in_atomic_block)
        ),
        name="where",
    )
    publish_event(OrderPlaced(), using="other")

    assert relay(execute=True) == 0
    assert "1 relayed." in command("relay_events", "--execute", "--once")

    assert inside == [(True, False)]
    assert OTHER.get().state == "done"


@pytest.mark.parametrize(
    ("error", "state"), [(RetryAfter(60), "pending"), (PermanentFailure("gone"), "dead")]
)
def test_a_failure_is_written_there(error: Exception, state: str) -> None:
    def fail(event: DomainEvent) -> None:
        raise error

    subscribe_async(OrderPlaced, fail, name="fail")
    publish_event(OrderPlaced(), using="other")

    relay("other", execute=True)

    assert (OTHER.get().state, OTHER.get().attempts) == (state, 1)


def test_a_deployment_is_waited_for_there(seen: Seen) -> None:
    publish_event(OrderPlaced(), using="other")
    unsubscribe(OrderPlaced, seen.append)

    relay("other", execute=True)

    assert (OTHER.get().state, OTHER.get().attempts) == ("pending", 0)
    assert "is named" in OTHER.get().error


def test_the_wake_up_names_that_database(seen: Seen, mailbox: Mailbox) -> None:
    publish_event(OrderPlaced(), using="other")
    (letter,) = mailbox.take()
    assert letter.args == [[str(OTHER.get().pk)], "other"]

    overdue()
    assert relay() == 0
    assert relay("other") == 1
    (letter,) = mailbox.take()
    assert letter.run() == "SUCCESS"
    assert OTHER.get().state == "done"
    assert len(seen) == 1


def test_no_step_asks_anything_of_another_database(seen: Seen, mailbox: Mailbox) -> None:
    def fail(event: DomainEvent) -> None:
        raise RetryAfter(0)

    subscribe_async(OrderPlaced, fail, name="fail", max_attempts=2)
    with CaptureQueriesContext(connections["default"]) as queries:
        publish_events([OrderPlaced(), OrderPlaced()], using="other")
        overdue()
        assert relay("other") == 4
        relay("other", execute=True, stop=itertools.chain([False], itertools.repeat(True)).__next__)
        relay("other", execute=True)
        relay("other", execute=True)
        for each in ("replay_events", "--all"), ("events_status",), ("prune_events", "--days=0"):
            command(*each)

    assert queries.captured_queries == []
    assert len(seen) == 2


def test_what_waits_for_its_commit_is_delivered_there(seen: Seen) -> None:
    with transaction.atomic(using="other"):
        publish_event(OrderPlaced(), using="other")
        assert not deliver_pending()
        assert deliver_pending(using="other")

    assert len(seen) == 1
    assert OTHER.get().state == "done"


def test_the_commands_read_and_write_there(seen: Seen) -> None:
    publish_event(OrderPlaced(), using="other")
    OTHER.update(state="dead", settled_at=timezone.now() - timedelta(days=99))

    assert "seen" in command("events_status")
    assert "replayed: 1." in command("replay_events", "--all", "--dry-run")
    assert "deleted: 1." in command("prune_events", "--dead")
    assert "The register is empty." in command("events_status")
