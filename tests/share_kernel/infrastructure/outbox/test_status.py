"""Ce que events_status montre, et le code de sortie qu’une surveillance lit."""

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from src.share_kernel.infrastructure.event_bus import publish_events, subscribe_async
from src.share_kernel.infrastructure.outbox import status as outbox_status
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
    """Exécute la commande ; renvoie ce qu’elle écrit et son code de sortie."""
    stream, code = StringIO(), 0
    try:
        call_command("events_status", *args, stdout=stream)
    except SystemExit as end:
        code = int(end.code or 0)
    return stream.getvalue(), code


def test_counts_by_state_and_handler_with_the_age_of_the_oldest() -> None:
    printed, code = status("--json")

    rows: list[dict[str, Any]] = json.loads(printed)
    assert printed == json.dumps(rows, indent=2) + "\n"  # a person reads it too
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


NAME = "a quite long name of a handler"


def groups() -> dict[str, Any]:
    """Renvoie les groupes, par état."""
    return {group["state"]: group for group in json.loads(status("--json")[0])}


def rows_of(count: int, **columns: Any) -> list[Delivery]:
    """Remplace les lignes par *count* autres, dans cet état."""
    Delivery.objects.all().delete()
    publish_events([OrderPlaced() for _ in range(count)])
    Delivery.objects.update(**columns)
    return list(Delivery.objects.order_by("position"))


class TestKeys:
    def test_a_row_that_its_key_holds_back_is_not_due(self) -> None:
        first, *_ = rows_of(4, key="k")
        Delivery.objects.filter(pk=first.pk).update(key=None)

        assert groups()["pending"]["why"] == "2 due, 2 held back by their key"

    def test_a_key_of_another_handler_holds_nothing_back(self) -> None:
        first, _ = rows_of(2, key="k")
        Delivery.objects.filter(pk=first.pk).update(handler="another")

        printed = json.loads(status("--json")[0])

        assert [group["why"] for group in printed] == ["1 due", "1 due"]

    def test_what_a_dead_row_holds_back_is_told_on_both_sides(self) -> None:
        now = timezone.now()
        a, b, c, *_ = rows_of(6, key="a")
        Delivery.objects.filter(pk__in=[b.pk, c.pk]).update(key="b")
        Delivery.objects.filter(pk__in=[a.pk, b.pk]).update(
            state="holding", settled_at=now, error="ValueError: no paper left\nsecond line"
        )

        found = groups()

        assert found["holding"]["why"] == "2 keys held back: ValueError: no paper left"
        assert (found["holding"]["count"], found["holding"]["held_keys"]) == (2, 2)
        assert found["pending"]["why"] == "4 held back by their key"
        assert found["pending"]["held_keys"] == 0

    def test_a_dead_row_that_holds_its_key_is_dead(self, capsys: Any) -> None:
        rows_of(1, key="a", state="holding", settled_at=timezone.now())

        assert status()[1] == 0
        assert status("--fail-if-dead")[1] == 1
        assert (
            f"1 deliveries to {NAME} were abandoned (1 keys held back)" in capsys.readouterr().err
        )


def test_what_is_reserved_is_not_due() -> None:
    now = timezone.now()
    reserved, lapsed, _ = rows_of(3)
    for row, minutes in ((reserved, 1), (lapsed, -1)):
        until = now + timedelta(minutes=minutes)
        Delivery.objects.filter(pk=row.pk).update(reserved_until=until)

    assert groups()["pending"]["why"] == "2 due, 1 to be tried again, or running"


class TestMoreRowsThanAreRead:
    """Les plus anciennes et les plus récentes de chaque état : le prix est le même."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outbox_status, "END", 2)

    @pytest.mark.parametrize(("count", "read", "more"), [(3, 3, False), (4, 4, True), (9, 4, True)])
    @pytest.mark.parametrize("state", Delivery.State.values)
    def test_it_is_said(self, state: str, count: int, read: int, more: bool) -> None:
        settled_at = None if state == "pending" else timezone.now()
        rows_of(count, state=state, settled_at=settled_at)

        group = groups()[state]

        assert (group["count"], group["more"]) == (read, more)
        shown = f"{read}+" if more else f"{read}"
        assert status()[0].splitlines()[1].split(NAME)[1].split()[0] == shown

    @pytest.mark.parametrize("state", Delivery.State.values)
    def test_the_oldest_and_the_newest_are_read(self, state: str) -> None:
        now = timezone.now()
        for days, row in enumerate(rows_of(9, state=state), start=1):
            row.start_after = row.settled_at = row.pending_since = now - timedelta(days=days)
            row.handler = f"h{days}"
            row.settled_at = None if state == "pending" else row.settled_at
            row.save()

        printed = json.loads(status("--json")[0])

        assert [group["handler"] for group in printed] == ["h1", "h2", "h8", "h9"]
        assert printed[-1]["oldest_seconds"] == pytest.approx(9 * 86400, abs=600)

    def test_the_statements_are_the_same(self) -> None:
        def statements(count: int) -> list[str]:
            rows_of(count)
            with CaptureQueriesContext(connection) as queries:
                status()
            return [query["sql"] for query in queries]

        assert statements(5) == statements(50)


class TestMetrics:
    def test_are_what_prometheus_reads(self) -> None:
        head, *_ = rows_of(3, key="a")
        Delivery.objects.filter(pk=head.pk).update(
            state="holding", settled_at=timezone.now(), handler='a "b" \\ \n c'
        )

        printed, code = status("--metrics")

        lines = printed.splitlines()
        kinds = [line.split()[2:] for line in lines if line.startswith("# TYPE")]
        assert kinds == [
            ["share_kernel_deliveries", "gauge"],
            ["share_kernel_deliveries_oldest_seconds", "gauge"],
            ["share_kernel_deliveries_held_keys", "gauge"],
        ]
        odd = r'{state="holding",handler="a \"b\" \\ \n c"}'
        assert f"share_kernel_deliveries{odd} 1" in lines
        assert f"share_kernel_deliveries_held_keys{odd} 1" in lines
        assert f'share_kernel_deliveries{{state="pending",handler="{NAME}"}} 2' in lines
        sample = re.compile(r'share_kernel_\w+\{state="\w+",handler="([^"\\]|\\["\\n])*"\} [\d.]+')
        assert [line for line in lines if line[0] != "#" and not sample.fullmatch(line)] == []
        assert printed.endswith("\n")
        assert code == 0

    def test_of_an_empty_register_have_no_value(self) -> None:
        Delivery.objects.all().delete()

        assert {line[0] for line in status("--metrics")[0].splitlines()} == {"#"}

    def test_the_alarms_are_theirs_too(self) -> None:
        assert status("--metrics", "--fail-if-older-than", "1")[1] == 1

    def test_and_json_exclude_each_other(self) -> None:
        with pytest.raises(CommandError, match="not allowed with"):
            status("--json", "--metrics")


@pytest.mark.parametrize("year", [1, 9999])
def test_an_impossible_date_is_no_error(year: int) -> None:
    rows_of(2, pending_since=datetime(year, 1, 1, tzinfo=UTC))

    assert groups()["pending"]["count"] == 2
