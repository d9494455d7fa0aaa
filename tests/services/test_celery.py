"""De vrais workers, sur SQLite + Redis et sur PostgreSQL + RabbitMQ."""

import re
import uuid

import pytest

from tests.services.shop.events import Marked

from .conftest import THREE_STACKS
from .stack import Stack, Worker, eventually, has_ended

HANDLERS = "tests.services.shop.handlers"


@pytest.fixture
def label() -> str:
    return uuid.uuid4().hex[:12]


def publish(stack: Stack, event: str) -> str:
    """Publie un événement, et renvoie son identifiant."""
    printed = stack.run(f"event = {event}; publish_event(event); print(event.event_id)")
    return printed.splitlines()[0]


def barrier(stack: Stack) -> None:
    """Attend qu’un événement publié après tout le reste soit traité : la file est alors vide."""
    label = uuid.uuid4().hex[:12]
    stack.run(f"publish_event(Marked(label={label!r}))")
    stack.until_effects(label, 1)


@pytest.mark.parametrize("stack", THREE_STACKS, indirect=True, scope="session")
def test_the_seeds_flow_from_end_to_end(stack: Stack, worker: Worker, label: str) -> None:
    printed = stack.run(
        f"""
        from src.module.accounting.models import LedgerEntry
        from src.module.invoicing.models import Invoice
        from src.module.invoicing.services import approve_invoice
        from src.module.tenant.services import create_tenant
        with transaction.atomic():
            create_tenant({label!r})
            invoice = Invoice.objects.create(number={label!r}, customer_email="a@b.fr", total=3)
            approve_invoice(invoice.pk)
            print("ledger entries before commit:", LedgerEntry.objects.filter(
                invoice_number={label!r}).count())
        """
    )

    assert printed == "ledger entries before commit: 1\n"
    count = f"""
        from src.module.notification.models import Notification
        print(Notification.objects.filter(subject__contains={label!r}).count())
        """
    eventually(lambda: stack.run(count) == "2\n", "both notifications, written by the worker")


def test_async_handlers_run_in_the_worker(stack: Stack, worker: Worker, label: str) -> None:
    publisher = stack.run(f"import os; print(os.getpid()); publish_event(Marked(label={label!r}))")

    (effect,) = stack.until_effects(label, 1)
    assert effect.split()[1] != publisher.strip()


def test_a_rollback_sends_nothing(stack: Stack, worker: Worker, label: str) -> None:
    stack.run(
        f"""
        try:
            with transaction.atomic():
                publish_event(Marked(label={label!r}))
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        with transaction.atomic():
            publish_event(Marked(label={label!r} + "-kept"))
            try:
                with transaction.atomic():
                    publish_event(Marked(label={label!r}))
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        """
    )
    barrier(stack)

    assert stack.effects(label) == []
    assert len(stack.effects(f"{label}-kept")) == 1


def test_one_failing_handler_of_three_runs_again_alone(
    stack: Stack, worker: Worker, label: str
) -> None:
    stack.run(f"publish_event(Sold(label={label!r}))")

    effects = stack.until_effects(label, 3)

    assert sorted(effect.split()[0] for effect in effects) == ["first", "flaky", "third"]
    assert [stack.attempts(name, label) for name in ("first", "flaky", "third")] == [1, 3, 1]
    assert "the printer is warming up" in worker.log


def test_giving_up_is_logged_with_the_whole_event(stack: Stack, worker: Worker, label: str) -> None:
    stack.run(f"publish_event(Doomed(label={label!r}))")
    handlers = "tests.services.shop.handlers"

    for name, reason in (("always_fails", "no paper left"), ("refuses", "this customer has left")):
        worker.waits_for(f"Gave up on handler {handlers}.{name} for event shop.doomed")
        worker.waits_for(reason)
    worker.waits_for(f'"label": "{label}"')
    assert stack.attempts("always_fails", label) == 2
    assert stack.attempts("refuses", label) == 1


def test_an_endless_chain_stops_across_workers(stack: Stack, worker: Worker, label: str) -> None:
    stack.run(f"publish_event(Endless(label={label!r}))")

    worker.waits_for("a chain of 5 events, more than MAX_DEPTH allows")

    correlations = stack.run(
        f"print(Effect.objects.filter(label={label!r}).values('correlation_id').distinct().count())"
    )
    assert correlations == "1\n"
    assert len(stack.effects(label)) == 3  # the fourth is rolled back by the refused publication


class TestDeploySkew:
    """Un worker plus ancien que celui qui publie garde le travail et le retente."""

    @pytest.mark.parametrize(
        ("changes", "handler", "words"),
        [
            ({}, "shop.handlers.added_today", "is named 'shop.handlers.added_today'"),
            ({"event_type": "shop.new"}, "x", "No event class is registered as 'shop.new'"),
            ({"event_version": 2}, "x", "is of version 2 and this code knows version 1"),
        ],
        ids=["unknown handler", "unknown event", "newer version"],
    )
    def test_is_kept_and_retried_then_given_up(
        self, stack: Stack, worker: Worker, label: str, changes: dict[str, object], handler: str,
        words: str,
    ) -> None:  # fmt: skip
        payload = Marked(label=label).to_dict() | changes

        self.send(stack, payload, handler, skews=0)
        worker.waits_for(
            f"on event {payload['event_type']} {payload['event_id']} (look-up 1 of 144"
        )
        worker.waits_for(words)
        assert "is a deployment going on?" in worker.log
        eventually(lambda: self.scheduled(stack, payload), "kept by the worker for later")

        self.send(stack, payload, handler, skews=143)
        worker.waits_for(f"Gave up on handler {handler} for event {payload['event_type']}")
        worker.waits_for(f'"label": "{label}"')

    def send(self, stack: Stack, payload: dict[str, object], handler: str, skews: int) -> None:
        stack.run(
            f"""
            from src.share_kernel.infrastructure.tasks import dispatch_async_event
            dispatch_async_event.apply_async(
                ({payload!r}, {handler!r}), headers={{"share_kernel_skews": {skews}}})
            """
        )

    def scheduled(self, stack: Stack, payload: dict[str, object]) -> bool:
        return str(payload["event_id"]) in stack.run(
            "from conf.celery import app; print(app.control.inspect(timeout=2).scheduled())"
        )


class TestKilled:
    def test_a_killed_pool_process_runs_the_handler_again(
        self, stack: Stack, worker: Worker, label: str
    ) -> None:
        stack.run(f"publish_event(Deadly(label={label!r}))")

        stack.until_effects(label, 1)

        assert stack.attempts("dies", label) == 2

    @pytest.mark.parametrize("how", ["kill", "leave"])
    def test_a_handler_that_always_kills_starts_as_often_as_its_own_limit_says(
        self, apart: Stack, label: str, how: str
    ) -> None:
        """``thrice`` a droit à plus que MAX_ATTEMPTS, que suit ``unlucky``.

        Un processus qui meurt avant que Celery ait lu son départ repart sans être compté.
        """
        limits = {"once": 1, "twice": 2, "thrice": 3, "unlucky": 2}
        with apart.worker(concurrency=4, TEST_MAX_ATTEMPTS="2") as worker:
            apart.run(
                f"""
                publish_event(Limited(label={label!r}, how={how!r}))
                publish_event(Unlucky(label={label!r}, how={how!r}))
                """
            )
            for name in limits:
                worker.waits_for(f"Gave up on handler {HANDLERS}.{name} for event")
            barrier(apart)
            seen = worker.log.count("retry: Retry in 5s: WorkerLostError")
            ended = len(re.findall(r"Process '.*' pid:\d+ exited with", worker.log))

        starts = {name: apart.attempts(name, label) for name in limits}
        assert all(starts[name] >= limits[name] for name in limits)
        assert seen >= sum(limits.values())
        assert sum(starts.values()) == ended
        assert apart.effects(label) == []

    @pytest.mark.only_on("rabbitmq")
    def test_a_killed_worker_gives_its_message_back(self, stack: Stack, label: str) -> None:
        """Avec Redis, le message revient après visibility_timeout, une heure : trop pour ici."""
        mine = Stack(stack.name, stack.database_url, stack.broker_url, stack.folder)
        payload = Marked(label=label).to_dict()
        with mine.worker() as first:
            TestDeploySkew().send(mine, payload, "added_today", skews=0)
            first.waits_for("look-up 1 of 144")
            first.kill()
        with mine.worker() as second:
            assert second.process.poll() is None
            eventually(lambda: TestDeploySkew().scheduled(mine, payload), "held by the new worker")


def test_a_cancelled_handler_runs_again_and_its_process_lives_on(
    stack: Stack, worker: Worker, label: str
) -> None:
    stack.run(
        f"""
        publish_event(Marked(label={label!r}))
        publish_event(Unlucky(label={label!r}, how="cancel", times=1))
        """
    )

    before, after = stack.until_effects(label, 2)
    assert after.split() == ["unlucky", before.split()[1]]
    assert stack.attempts("unlucky", label) == 2
    assert "no more paper" in worker.log


@pytest.mark.parametrize("how", ["fail_after_commit", "leave_after_commit"])
def test_a_handler_whose_callback_fails_does_not_run_again(
    stack: Stack, worker: Worker, label: str, how: str
) -> None:
    event_id = publish(stack, f"Unlucky(label={label!r}, how={how!r})")

    worker.waits_for(
        f"An on_commit callback of handler {HANDLERS}.unlucky failed on event shop.unlucky "
        f"{event_id}"
    )
    barrier(stack)  # in the same process, the only one
    (effect,) = stack.effects(label)
    (last,) = stack.query("SELECT pid FROM shop_effect ORDER BY id DESC LIMIT 1")
    assert effect == f"unlucky {last[0]}"
    assert stack.attempts("unlucky", label) == 1
    assert f"failed on event shop.unlucky {event_id} (" not in worker.log  # nor is to be


def test_a_handler_that_is_revoked_does_not_run_again(apart: Stack, label: str) -> None:
    with apart.worker() as worker:
        event_id = publish(apart, f"Unlucky(label={label!r}, how='hang', times=1)")
        process = apart.until_it_hangs()
        (task,) = re.findall(r"share_kernel.dispatch_async_event\[(.*?)\] received", worker.log)

        apart.run(f"from conf.celery import app; app.control.revoke({task!r}, terminate=True)")
        eventually(lambda: has_ended(process), "the end of the process")
        barrier(apart)
        assert f"shop.unlucky {event_id} (" not in worker.log  # no retry, and no giving up

    assert apart.attempts("unlucky", label) == 1
    assert apart.effects(label) == []
    assert apart.queue_length() == 0  # the broker does not have it back either


class TestBatch:
    def test_a_bulk_publication_keeps_its_order_and_retries_one_item_alone(
        self, stack: Stack, worker: Worker, label: str
    ) -> None:
        stack.run(
            f"""
            from src.share_kernel.infrastructure.event_bus import publish_events
            with transaction.atomic():
                publish_events([Sold(label=f"{label}-{{n}}") for n in range(3)])
            """
        )

        for number in range(3):
            found = stack.until_effects(f"{label}-{number}", 3)
            assert sorted(item.split()[0] for item in found) == ["first", "flaky", "third"]
            names = ("first", "flaky", "third")
            assert [stack.attempts(name, f"{label}-{number}") for name in names] == [1, 3, 1]
        rows = stack.query(
            f"SELECT label FROM shop_effect WHERE handler = 'first' AND label LIKE '{label}-%' "
            "ORDER BY id"
        )
        assert [row[0] for row in rows] == [f"{label}-{number}" for number in range(3)]

    def test_a_rolled_back_bulk_publication_sends_nothing(
        self, stack: Stack, worker: Worker, label: str
    ) -> None:
        stack.run(
            f"""
            from src.share_kernel.infrastructure.event_bus import publish_events
            try:
                with transaction.atomic():
                    publish_events([Marked(label={label!r}) for _ in range(3)])
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            """
        )
        barrier(stack)

        assert stack.effects(label) == []

    def test_an_item_that_kills_the_worker_does_not_take_the_others(
        self, stack: Stack, worker: Worker, label: str
    ) -> None:
        stack.run(
            f"""
            from src.share_kernel.infrastructure.event_bus import publish_events
            with transaction.atomic():
                publish_events([Deadly(label={label!r}), Marked(label=f"{label}-after")])
            """
        )

        stack.until_effects(f"{label}-after", 1)
        stack.until_effects(label, 1)
        assert stack.attempts("dies", label) == 2

    def test_lost_loses_no_item_that_has_only_one_attempt(
        self, stack: Stack, worker: Worker, label: str
    ) -> None:
        stack.run(
            f"""
            from src.share_kernel.infrastructure.event_bus import publish_events
            with transaction.atomic():
                publish_events([
                    Fragile(label=f"{label}-before"),
                    Unlucky(label={label!r}, how="kill", times=1),
                    *[Fragile(label=f"{label}-{{n}}") for n in range(3)],
                ])
            """
        )

        for number in range(3):
            assert len(stack.until_effects(f"{label}-{number}", 1)) == 1
        stack.until_effects(label, 1)
        barrier(stack)
        # Whether it had its only attempt is not known: rather twice than never.
        assert len(stack.effects(f"{label}-before")) == 2
        assert f"Gave up on handler {HANDLERS}.breaks" not in worker.log
