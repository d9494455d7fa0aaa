"""Ce que events_status montre, et le code de sortie qu’une surveillance lit."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from src.share_kernel.infrastructure.event_bus import publish_events, subscribe_async
from src.share_kernel.infrastructure.outbox.models import Delivery
from tests.share_kernel.events import OrderPlaced

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _rows(transactional_db: None, outbox: None) -> None:
    """Trois en attente depuis 1, 2 et 3 minutes, deux faites depuis une heure."""
    subscribe_async(OrderPlaced, lambda event: None, name="a quite long name of a handler")
    publish_events([OrderPlaced() for _ in range(5)])
    now = timezone.now()
    for minutes, row in enumerate(Delivery.objects.all(), start=1):
        done = minutes > 3
        since = now - (timedelta(hours=1) if done else timedelta(minutes=minutes))
        row.state, row.pending_since = ("done" if done else "pending"), since
        row.settled_at = now if done else None
        row.save()


def status(*args: str) -> tuple[str, int]:
    """Exécute la commande ; renvoie ce qu’elle écrit et son code de sortie."""
    stream, code = StringIO(), 0
    try:
        call_command("events_status", *args, stdout=stream)
    except SystemExit as end:
        code = int(end.code or 0)
    return stream.getvalue(), code


def test_counts_by_state_and_handler_with_the_age_of_the_oldest() -> None:
    printed, code = status("--json")

    rows: list[dict[str, Any]] = json.loads(printed)
    found = [(row["state"], row["handler"], row["count"]) for row in rows]
    name = "a quite long name of a handler"
    assert found == [("done", name, 2), ("pending", name, 3)]
    assert 180 <= rows[1]["oldest_seconds"] < 600
    assert code == 0


def test_the_table_is_aligned() -> None:
    printed, _ = status()

    lines = printed.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["STATE", "HANDLER", "COUNT", "OLDEST", "WHY"]
    end = lines[0].index("OLDEST") + len("OLDEST")
    assert {line[end - 1 : end + 2] for line in lines[1:]} <= {"s", "s  "}
    assert lines[2][:end].split()[-3] == "3"
    assert lines[2].startswith("pending  a quite long name of a handler ")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--fail-if-older-than", "100"], 1),
        (["--fail-if-older-than", "600"], 0),
        (["--fail-if-dead"], 0),
        (["--fail-if-older-than", "600", "--fail-if-dead"], 0),
    ],
)
def test_only_what_waits_is_late(args: list[str], code: int) -> None:
    """Les livraisons faites, plus vieilles, n’alarment personne."""
    assert status(*args)[1] == code


@pytest.mark.parametrize(("args", "code"), [([], 0), (["--fail-if-dead"], 1)])
def test_a_dead_row_alarms_who_asks_for_it(args: list[str], code: int) -> None:
    Delivery.objects.update(state="dead", settled_at=timezone.now())

    assert status(*args)[1] == code
    assert status(*args, "--fail-if-older-than", "1")[1] == code


def test_each_row_that_waits_is_counted_under_one_reason() -> None:
    past, later = timezone.now() - timedelta(hours=1), timezone.now() + timedelta(hours=1)
    waits = "waits for a deployment: x"
    told = [("", past), ("", later), (waits, past), (waits, later), ("not sent: y", past)]
    for row, (error, start_after) in zip(Delivery.objects.all(), told, strict=True):
        row.state, row.error, row.start_after = "pending", error, start_after
        row.save()

    (group,) = json.loads(status("--json")[0])

    assert group["why"].startswith(
        "1 due, 1 to be tried again, or running, 2 waiting for a deployment, 1 not sent: waits for"
    )
