"""L’administration du registre : lire, ranimer, abandonner, et rien d’autre."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    publish_events,
    subscribe_async,
)
from src.share_kernel.infrastructure.outbox.models import Delivery
from tests.share_kernel.events import OrderPlaced

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
            ("replay_selected", "dead", "pending"),
            ("replay_selected", "done", "done"),
            ("replay_selected", "pending", "pending"),
        ],
    )
    def test_touch_only_the_rows_they_are_for(
        self, root: Client, row: Delivery, action: str, before: str, after: str
    ) -> None:
        Delivery.objects.update(state=before, error="kept", attempts=3)

        page = act(root, action, row)

        row.refresh_from_db()
        changed = before != after
        assert row.state == after
        assert f": {int(changed)}." in page.content.decode()
        if not changed:
            assert (row.error, row.attempts) == ("kept", 3)

    def test_touch_only_the_rows_that_are_chosen(self, root: Client, row: Delivery) -> None:
        publish_events([OrderPlaced(), OrderPlaced()])

        act(root, "give_up_selected", row)

        assert Delivery.objects.get(state="dead") == row

    def test_giving_up_says_who_and_when(self, root: Client, row: Delivery) -> None:
        act(root, "give_up_selected", row)

        row.refresh_from_db()
        assert row.error == "Given up by root"
        assert row.settled_at is not None
        assert timedelta(0) <= timezone.now() - row.settled_at < timedelta(minutes=5)


class TestReading:
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

    def test_a_row_is_found_by_its_event(self, root: Client, row: Delivery) -> None:
        other = OrderPlaced()
        publish_event(other)

        listing = root.get(LIST, {"q": str(other.event_id)}).content.decode()

        assert str(Delivery.objects.get(event_id=other.event_id).pk) in listing
        assert str(row.pk) not in listing

    def test_a_row_says_what_it_is(self, row: Delivery) -> None:
        assert str(row) == f"shop.order_placed {row.event_id} → seen (pending)"
