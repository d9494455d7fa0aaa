"""L’administration du registre : lire, ranimer, abandonner, et rien d’autre."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection as db
from django.db.models import DateTimeField
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
)
from src.share_kernel.infrastructure.outbox import admin
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.outbox.relay import relay
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.mailbox import Mailbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("outbox")]

LIST = "/admin/share_kernel_outbox/delivery/"


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def row() -> Delivery:
    subscribe_async(OrderPlaced, lambda event: None, name="seen")
    publish_event(OrderPlaced(order_id="é-1"))
    return Delivery.objects.get()


def act(client: Client, action: str, *rows: Delivery) -> Any:
    chosen = [str(row.pk) for row in rows]
    return client.post(LIST, {"action": action, "_selected_action": chosen}, follow=True)


def page_of(client: Client, row: Delivery) -> str:
    response = client.get(f"{LIST}{row.pk}/change/")
    assert response.status_code == 200
    return str(response.content.decode())


class TestNothingIsDeleted:
    """Effacer est le travail de prune_events, qui ne touche pas à ce qui attend."""

    def test_by_the_page_of_a_row(self, root: Client, row: Delivery) -> None:
        assert "deletelink" not in page_of(root, row)
        assert root.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert Delivery.objects.count() == 1

    def test_by_the_action_of_the_list(self, root: Client, row: Delivery) -> None:
        assert b"delete_selected" not in root.get(LIST).content
        root.post(
            LIST,
            {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"},
        )
        assert Delivery.objects.count() == 1


class TestActions:
    @pytest.mark.parametrize(
        ("action", "before", "after"),
        [
            ("give_up_selected", "pending", "dead"),
            ("give_up_selected", "done", "done"),
            ("give_up_selected", "dead", "dead"),
            ("give_up_selected", "holding", "dead"),
            ("replay_selected", "dead", "pending"),
            ("replay_selected", "holding", "pending"),
            ("replay_selected", "done", "done"),
            ("replay_selected", "pending", "pending"),
        ],
    )
    def test_touch_only_the_rows_they_are_for(
        self, root: Client, row: Delivery, action: str, before: str, after: str
    ) -> None:
        settled_at = None if before == "pending" else timezone.now()
        Delivery.objects.update(state=before, error="kept", attempts=3, settled_at=settled_at)

        page = act(root, action, row)

        row.refresh_from_db()
        changed = before != after
        assert row.state == after
        assert f": {int(changed)}." in page.content.decode()
        assert row.error == (
            "Given up by root" if (before, after) == ("pending", "dead") else "kept"
        )
        assert row.attempts == (0 if after == "pending" != before else 3)

    def test_touch_only_the_rows_that_are_chosen(self, root: Client, row: Delivery) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])

        act(root, "give_up_selected", row)

        assert Delivery.objects.get(state="dead") == row

    def test_reach_a_row_that_newer_ones_have_hidden_since(
        self, root: Client, row: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admin, "SHOWN", 1)
        publish_events([OrderPlaced(), OrderPlaced()])
        assert str(row.pk) not in listed(root)

        act(root, "give_up_selected", row)

        assert Delivery.objects.get(state="dead") == row

    @pytest.mark.parametrize("action", ["deliver_selected", "replay_selected"])
    def test_wakes_who_delivers_and_delivers_nothing_itself(
        self, action: str, root: Client, row: Delivery, mailbox: Mailbox
    ) -> None:
        later = timezone.now() + timedelta(hours=1)
        state = "pending" if action == "deliver_selected" else "dead"
        Delivery.objects.update(
            state=state,
            start_after=later,
            send_after=later,
            settled_at=None if state == "pending" else later,
        )

        response = act(root, action, row)

        assert ": 1." in html.unescape(response.content.decode())
        assert [letter.args for letter in mailbox.take()] == [[[str(row.pk)], "default"]]
        row.refresh_from_db()
        assert (row.state, row.attempts) == ("pending", 0)
        assert relay(execute=True) == 1  # it is due

    def test_a_relay_delivers_what_is_due_now(self, root: Client, row: Delivery) -> None:
        Delivery.objects.update(start_after=timezone.now() + timedelta(hours=1))
        assert relay(execute=True) == 0

        act(root, "deliver_selected", row)

        assert relay(execute=True) == 1

    def test_giving_up_says_who_and_when(self, root: Client, row: Delivery) -> None:
        act(root, "give_up_selected", row)

        row.refresh_from_db()
        assert row.error == "Given up by root"
        assert row.settled_at is not None
        assert timedelta(0) <= timezone.now() - row.settled_at < timedelta(minutes=5)


class TestReading:
    def test_each_column_and_each_field_has_a_label_in_the_readers_language(
        self, root: Client, row: Delivery
    ) -> None:
        root.cookies["django_language"] = "fr"

        (column,) = re.findall(
            r"column-short_error.*?</th>", root.get(LIST).content.decode(), re.DOTALL
        )
        assert "Erreur" in column
        assert "Charge utile" in page_of(root, row)

    def test_the_list_shows_the_first_line_of_an_error(self, root: Client, row: Delivery) -> None:
        Delivery.objects.update(error=f"ValueError: {'!' * 300}\nsecond line")

        listing = root.get(LIST).content.decode()

        assert f"ValueError: {'!' * 88}<" in listing
        assert "second line" not in listing
        assert "shop.order_placed" in listing
        assert "seen" in listing

    def test_the_page_lays_the_payload_out(self, root: Client, row: Delivery) -> None:
        page = page_of(root, row)

        assert "<pre>{\n  &quot;" in page
        assert "&quot;order_id&quot;: &quot;é-1&quot;" in page
        assert str(row.event_id) in page

    @pytest.mark.parametrize("payload", ["", "{", "<script>alert(1)</script>"])
    def test_an_unreadable_payload_is_shown_as_it_is(
        self, root: Client, row: Delivery, payload: str
    ) -> None:
        Delivery.objects.update(payload=payload)

        page = page_of(root, row)

        assert f"<pre>{payload.replace('<', '&lt;').replace('>', '&gt;')}</pre>" in page

    def test_a_payload_too_deep_to_lay_out_is_shown_as_it_is(
        self, root: Client, row: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        monkeypatch.setattr(admin, "readable", lambda row: deep)

        assert f"<pre>{html.escape(row.payload)}</pre>" in page_of(root, row)

    def test_a_row_says_what_it_is(self, row: Delivery) -> None:
        assert str(row) == f"shop.order_placed {row.event_id} → seen (pending)"

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
    @pytest.mark.parametrize("year", [1, 9999])
    def test_a_date_at_an_end_of_the_calendar_is_shown(
        self, root: Client, row: Delivery, year: int, zone: str, settings: Any
    ) -> None:
        """Dans un autre fuseau que UTC, elle n’existe pas."""
        settings.TIME_ZONE = zone
        edges = {1: datetime.min.replace(tzinfo=UTC), 9999: datetime.max.replace(tzinfo=UTC)}
        dates = [f.name for f in Delivery._meta.fields if isinstance(f, DateTimeField)]
        Delivery.objects.update(**dict.fromkeys(dates, edges[year]))

        assert root.get(LIST).status_code == 200
        page = page_of(root, row)
        shown = re.findall(
            r'field-(?:\w+_(?:at|since|after|until)).*?"readonly">([^<]*)', page, re.DOTALL
        )
        assert len(shown) == len(dates)
        assert [text for text in shown if not re.search(rf"\b0*{year}\b", text)] == []


def listed(client: Client, **query: str) -> set[str]:
    """Renvoie les identifiants des livraisons que montre la liste."""
    response = client.get(LIST, query)
    assert response.status_code == 200
    return set(
        re.findall(r'name="_selected_action" value="([0-9a-f-]{36})"', response.content.decode())
    )


@pytest.fixture
def rows() -> dict[str, str]:
    """Une livraison par état."""
    subscribe_async(OrderPlaced, lambda event: None, name="seen")
    publish_events([OrderPlaced() for _ in Delivery.State.values])
    rows = dict(zip(Delivery.State.values, Delivery.objects.all(), strict=True))
    for state, row in rows.items():
        settled_at = None if state == "pending" else timezone.now()
        Delivery.objects.filter(pk=row.pk).update(state=state, settled_at=settled_at)
    return {state: str(row.pk) for state, row in rows.items()}


class TestChoosing:
    def test_shows_at_first_what_is_not_done(self, root: Client, rows: dict[str, str]) -> None:
        assert listed(root) == {rows["pending"], rows["dead"], rows["holding"]}

    @pytest.mark.parametrize("state", Delivery.State.values)
    def test_by_state(self, root: Client, rows: dict[str, str], state: str) -> None:
        assert listed(root, state=state) == {rows[state]}

    def test_an_unknown_state_is_none(self, root: Client, rows: dict[str, str]) -> None:
        assert listed(root, state="no\0ne") == listed(root)

    @pytest.mark.parametrize("name", ["handler", "event_type"])
    def test_by_what_is_registered_without_reading_the_table(
        self, root: Client, rows: dict[str, str], name: str
    ) -> None:
        subscribe_async(OrderPaid, lambda event: None, name="never called")
        values = {"handler": ("seen", "never called"), "event_type": ("shop.order_placed",) * 2}
        known, rare = values[name][0], {"handler": "never called", "event_type": "shop.order_paid"}

        with CaptureQueriesContext(db) as queries:
            page = root.get(LIST).content.decode()

        assert not [query for query in queries if "DISTINCT" in query["sql"]]
        for value in (known, rare[name]):
            assert f"?{urlencode({name: value})}" in page
        assert len(listed(root, **{name: known})) == 3
        assert listed(root, **{name: rare[name]}) == set()
        assert listed(root, **{name: known}, state="done") == {rows["done"]}

    @pytest.mark.parametrize("column", ["event_id", "pk"])
    @pytest.mark.parametrize("state", Delivery.State.values)
    def test_by_an_identifier_whatever_the_state(
        self, root: Client, rows: dict[str, str], column: str, state: str
    ) -> None:
        wanted = getattr(Delivery.objects.get(pk=rows[state]), column)

        assert listed(root, q=str(wanted)) == {rows[state]}
        assert listed(root, q=f" {wanted.hex.upper()} ") == {rows[state]}
        assert listed(root, q=str(wanted), state=state) == {rows[state]}
        other = "dead" if state == "done" else "done"
        assert listed(root, q=str(wanted), state=other) == set()

    @pytest.mark.parametrize("text", ["seen", "1", "x" * 5000, "%", "é\u2028", "'", "{}", "nul\0"])
    def test_by_what_is_no_identifier_finds_nothing(
        self, root: Client, rows: dict[str, str], text: str
    ) -> None:
        assert listed(root, q=text) <= {rows["pending"], rows["dead"], rows["holding"]}
        assert "\0" in text or not listed(root, q=text)

    def test_an_empty_search_is_no_search(self, root: Client, rows: dict[str, str]) -> None:
        assert listed(root, q=" ") == listed(root)

    @pytest.mark.parametrize("query", [{"q": "nul\0"}, {"o": "1.-5"}, {"p": "1"}, {"_facets": ""}])
    def test_never_reads_more_than_the_last_rows_of_a_state(
        self,
        root: Client,
        row: Delivery,
        query: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(admin, "SHOWN", 2)
        publish_events([OrderPlaced() for _ in range(5)])
        rows = Delivery.objects.all()
        for minutes, other in enumerate(rows, start=1):
            start_after = timezone.now() - timedelta(minutes=minutes)
            Delivery.objects.filter(pk=other.pk).update(start_after=start_after)

        assert listed(root, **query) == {str(other.pk) for other in rows[:2]}

    @pytest.mark.parametrize("state", ["dead", "done"])
    def test_what_is_chosen_is_found_behind_what_is_not(
        self, root: Client, row: Delivery, state: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Mille échecs d’un handler ne cachent pas celui d’un autre ; dix mille, si."""
        monkeypatch.setattr(admin, "SHOWN", 2)
        monkeypatch.setattr(admin, "SEARCHED", 4)
        publish_events([OrderPlaced() for _ in range(5)])
        for minutes, other in enumerate(Delivery.objects.order_by("pk"), start=1):
            other.handler, other.state = f"h{minutes}", state
            other.settled_at = timezone.now() - timedelta(minutes=minutes)
            other.save()

        found = [bool(listed(root, handler=f"h{n}", state=state)) for n in range(1, 7)]

        assert found == [True, True, True, True, True, False]
        assert len(listed(root, state=state)) == 2

    @pytest.mark.parametrize("query", [{}, {"_facets": ""}])
    def test_costs_a_fixed_number_of_statements(
        self, root: Client, row: Delivery, query: dict[str, str]
    ) -> None:
        with CaptureQueriesContext(db) as queries:
            root.get(LIST, query)

        mine = [query["sql"] for query in queries if "outbox_delivery" in query["sql"]]
        assert len(mine) == 5  # a bound for each state, a count, a page
        assert not [sql for sql in mine if '"payload"' in sql]


def test_reading_is_not_replaying(row: Delivery) -> None:
    reader = User.objects.create_user("reader", is_staff=True)
    kind, _ = ContentType.objects.get_or_create(app_label="share_kernel_outbox", model="delivery")
    view, _ = Permission.objects.get_or_create(codename="view_delivery", content_type=kind)
    reader.user_permissions.add(view)
    Delivery.objects.update(state="dead", settled_at=timezone.now())
    client = Client()
    client.force_login(reader)

    assert "é-1" in page_of(client, row)
    act(client, "replay_selected", row)

    assert Delivery.objects.get().state == "dead"


WORDS = {  # what the list, the page of a row and an action say
    "fr": [
        "Registre des livraisons", "l’objet livraison", "Type d’événement", "En attente depuis",
        "Erreur", ">en attente<", "à faire ou abandonnées", "abandonnée, retient sa clé",
        "Rejouer les livraisons abandonnées choisies", "L’UUID d’un événement ou d’une livraison",
        "Charge utile", "À réveiller après", "Livraisons abandonnées\u00a0: 1.",
    ],
    "en": [
        "Delivery register", "Select delivery to", "Event type", "Pending since",
        "Error", ">pending<", "not done", "dead, holds its key back",
        "Replay the selected dead deliveries", "The UUID of an event or of a delivery",
        "Payload", "Send after", "Deliveries abandoned: 1.",
    ],
}  # fmt: skip


@pytest.mark.parametrize("language", WORDS)
def test_it_speaks_the_language_of_its_reader(language: str, root: Client, row: Delivery) -> None:
    with translation.override(language):
        pages = [
            root.get(LIST).content.decode(),
            page_of(root, row),
            act(root, "give_up_selected", row).content.decode(),
        ]

    text = html.unescape("".join(pages))
    assert [word for word in WORDS[language] if word not in text] == []
    assert [word for word in WORDS["en" if language == "fr" else "fr"] if word in text] == []
