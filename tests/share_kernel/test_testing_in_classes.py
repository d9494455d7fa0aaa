"""K : ``deliver_pending()`` dans les classes de test de Django, et le tri de ce qu’il livre."""

import unittest
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import TestCase

from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async
from src.share_kernel.testing import deliver_pending
from tests.share_kernel.events import OrderPaid, OrderPlaced
from tests.share_kernel.misbehaving import NEVER_RUN, UNDONE, Handler, Work

pytestmark = pytest.mark.django_db(transaction=True)

Seen = list[Any]


@pytest.fixture
def seen() -> Seen:
    received: Seen = []
    subscribe_async(OrderPlaced, received.append, name="seen")
    return received


def run_methods(case: type[TestCase], names: list[str]) -> None:
    """Exécute les méthodes d’une classe de test, dans cet ordre."""
    result = unittest.TestResult()
    unittest.TestSuite(map(case, names)).run(result)
    assert result.testsRun == len(names)
    assert result.wasSuccessful(), "\n".join(text for _, text in result.errors + result.failures)


@pytest.mark.parametrize("names", [["test_a", "test_b", "test_c"], ["test_c", "test_b", "test_a"]])
@pytest.mark.parametrize("register", [False, True], ids=["light", "register"])
def test_what_the_class_published_is_the_same_for_each_of_its_tests(
    names: list[str], register: bool, seen: Seen, request: pytest.FixtureRequest
) -> None:
    """Livré dans chacun, ou dans aucun : jamais dans le premier seulement."""
    if register:
        request.getfixturevalue("outbox")
    received: dict[str, list[str]] = {}

    class Case(TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            publish_event(OrderPlaced(order_id="class"))

        def deliver(self, name: str) -> None:
            seen.clear()
            publish_event(OrderPlaced(order_id="test"))
            deliver_pending()
            received[name] = sorted(event.order_id for event in seen)

        def test_a(self) -> None:
            self.deliver("a")

        def test_b(self) -> None:
            """Celui-ci échoue dans la base : sa transaction emporte tout."""
            self.deliver("b")
            transaction.set_rollback(True)

        def test_c(self) -> None:
            self.deliver("c")

    run_methods(Case, names)

    assert received["a"] == received["b"] == received["c"]
    assert "test" in received["a"]


def test_a_test_that_delivers_nothing_takes_nothing_from_the_others(seen: Seen) -> None:
    counts: list[int] = []

    class Case(TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            publish_event(OrderPlaced())

        def test_a(self) -> None:
            deliver_pending()
            counts.append(len(seen))
            seen.clear()

        def test_b(self) -> None:
            pass

        def test_c(self) -> None:
            self.test_a()

    run_methods(Case, ["test_a", "test_b", "test_c"])

    assert counts[0] == counts[1]


def test_each_test_receives_what_it_published(seen: Seen) -> None:
    class Case(TestCase):
        def test_a(self) -> None:
            seen.clear()
            publish_event(OrderPlaced())
            deliver_pending()
            assert len(seen) == 1

        def test_b(self) -> None:
            self.test_a()

    run_methods(Case, ["test_a", "test_b"])


def deliver(**options: Any) -> list[str]:
    """Livre ce qui attend, et renvoie les noms de ce qui s’est exécuté."""
    call: Callable[..., Any] = deliver_pending
    return list(call(**options))


@pytest.mark.parametrize("register", [False, True], ids=["light", "register"])
class TestOnly:
    """T5 : livrer ce qui concerne le test, sans compter les handlers des autres modules."""

    @pytest.fixture(autouse=True)
    def _published(self, register: bool, request: pytest.FixtureRequest) -> Any:
        if register:
            request.getfixturevalue("outbox")
        self.ran: list[str] = []
        subscribe_async(OrderPlaced, self.ship, name="ship")
        subscribe_async(OrderPlaced, self.print, name="print")
        subscribe_async(OrderPaid, self.thank, name="thank")
        with transaction.atomic():
            publish_event(OrderPlaced())
            publish_event(OrderPaid())
            yield

    def ship(self, event: OrderPlaced) -> None:
        self.ran.append("ship")

    def print(self, event: OrderPlaced) -> None:
        self.ran.append("print")

    def thank(self, event: OrderPaid) -> None:
        self.ran.append("thank")

    def test_everything_by_default(self) -> None:
        assert deliver() == self.ran == ["ship", "print", "thank"]
        assert deliver() == []

    def test_an_event_class(self) -> None:
        assert deliver(only=OrderPlaced) == self.ran == ["ship", "print"]

    def test_a_handler(self) -> None:
        assert deliver(only=self.print) == self.ran == ["print"]

    def test_the_rest_still_waits(self) -> None:
        deliver(only=OrderPaid)
        deliver(only=OrderPaid)
        assert self.ran == ["thank"]

        deliver_pending()

        assert self.ran == ["thank", "ship", "print"]


@pytest.mark.parametrize("register", [False, True], ids=["light", "register"])
class TestBelieved:
    """A : un test apprend qu’un handler n’a rien fait, comme le journal l’apprend en production."""

    @pytest.mark.parametrize("handler", UNDONE)
    def test_what_is_undone_goes_up(
        self, handler: Handler, register: bool, request: pytest.FixtureRequest
    ) -> None:
        if register:
            request.getfixturevalue("outbox")
        subscribe_async(OrderPlaced, handler, name="careless")

        with transaction.atomic():
            publish_event(OrderPlaced())
            with pytest.raises(Exception, match=r"atomic\(\)") as caught:
                deliver_pending()

        assert "careless" in "\n".join([str(caught.value), *caught.value.__notes__])

    @pytest.mark.parametrize("make", NEVER_RUN.values(), ids=NEVER_RUN)
    def test_what_never_ran_goes_up(
        self,
        make: Callable[[Work], Handler],
        register: bool,
        request: pytest.FixtureRequest,
    ) -> None:
        if register:
            request.getfixturevalue("outbox")
        runs: Seen = []
        subscribe_async(OrderPlaced, make(lambda: runs.append(1)), name="careless")

        with transaction.atomic():
            publish_event(OrderPlaced())
            with pytest.raises(Exception) as caught:  # noqa: PT011  # any, but named
                deliver_pending()

        assert "careless" in "\n".join([str(caught.value), *caught.value.__notes__])
        assert runs == []
