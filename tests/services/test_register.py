"""Le registre durable avec de vrais workers, de vrais relais, de vraies pannes."""

import re
import subprocess
import sys
import uuid
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest

from .conftest import THREE_STACKS
from .proxy import Proxy
from .stack import ROOT, Stack, Worker, eventually, has_ended, new_queue, patience

pytestmark = pytest.mark.parametrize("stack", THREE_STACKS, indirect=True, scope="session")


@pytest.fixture
def label(durable: Stack) -> str:
    durable.run(
        "from src.share_kernel.infrastructure.outbox.models import Delivery;"
        "Delivery.objects.all().delete()"
    )
    return uuid.uuid4().hex[:12]


def states(stack: Stack) -> dict[str, int]:
    sql = "SELECT state, count(*) FROM share_kernel_outbox_delivery GROUP BY state"
    return {row[0]: row[1] for row in stack.query(sql)}


def relay(stack: Stack) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "relay_events", "--execute", "--once"],
        cwd=ROOT,
        env=stack.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    printed, _ = process.communicate(timeout=patience())
    assert process.returncode == 0, printed
    return printed


def test_a_committed_event_wakes_a_worker(
    durable: Stack, durable_worker: Worker, label: str
) -> None:
    publisher = durable.run(
        f"import os; print(os.getpid()); publish_event(Marked(label={label!r}))"
    )

    (effect,) = durable.until_effects(label, 1)
    assert effect.split()[1] != publisher.strip()
    eventually(lambda: states(durable) == {"done": 1}, "the row settled")


def test_a_rolled_back_event_leaves_no_row(durable: Stack, label: str) -> None:
    durable.run(
        f"""
        try:
            with transaction.atomic():
                publish_event(Marked(label={label!r}))
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        """
    )

    assert states(durable) == {}


def test_seven_wake_ups_at_once_count_one_attempt(
    durable: Stack, durable_worker: Worker, label: str
) -> None:
    """Quatre processus se disputent une ligne dont le handler demande une heure."""
    durable.run(
        f"""
        from src.share_kernel.infrastructure import broker
        from src.share_kernel.infrastructure.outbox.models import Delivery
        from src.share_kernel.infrastructure.outbox.tasks import deliver
        broker.breaker.trip()  # no wake-up of its own
        publish_event(Doomed(label={label!r}))
        row = Delivery.objects.get(handler__endswith="patient")
        for _ in range(7):
            deliver.delay([str(row.pk)])
        publish_event(Marked(label={label!r}))
        deliver.delay([str(Delivery.objects.get(event_type="shop.marked").pk)])
        """
    )
    durable.until_effects(label, 1)

    eventually(lambda: durable.attempts("patient", label), "one attempt")
    eventually(lambda: durable.queue_length() == 0, "all wake-ups taken")
    sql = "SELECT attempts FROM share_kernel_outbox_delivery WHERE handler LIKE '%patient'"
    assert durable.query(sql) == [(1,)]
    assert durable.attempts("patient", label) == 1


def test_a_broker_that_fails_at_commit_runs_nothing_in_the_request(
    durable: Stack, behind_proxy: Stack, proxy: Proxy, label: str
) -> None:
    proxy.stop()
    broken = replace(durable, broker_url=behind_proxy.broker_url)

    printed = broken.run(f"publish_event(Marked(label={label!r}))")

    assert "The broker failed" in printed
    assert durable.effects(label) == []
    assert states(durable) == {"pending": 1}
    finish(relay(durable))
    assert len(durable.effects(label)) == 1


def test_the_relay_sends_no_more_than_its_window(durable: Stack, label: str) -> None:
    """Sans worker pour consommer, trois tours de relais n’empilent pas trois fois l’arriéré."""
    mine = replace(durable, queue=new_queue())
    printed = mine.run(
        f"""
        from src.share_kernel.infrastructure import broker
        from src.share_kernel.infrastructure.event_bus import publish_events
        from src.share_kernel.infrastructure.outbox.models import Delivery
        from src.share_kernel.infrastructure.outbox.relay import relay
        broker.breaker.trip()
        publish_events([Marked(label={label!r}) for _ in range(1000)])
        broker.breaker.tripped_at = float("-inf")
        Delivery.objects.update(send_after=Delivery.objects.first().created_at, sends=0)
        print([relay() for _ in range(3)])
        """
    )

    assert "[300, 0, 0]" in printed
    assert 3 <= mine.queue_length() <= 300
    mine.delete_queue()


def test_two_processes_writing_burn_no_attempt(durable: Stack, label: str) -> None:
    """Sur SQLite, deux relais et un publieur se verrouillent l’un l’autre."""
    quiet = replace(durable, broker_url="")
    publish = f"""
        for number in range(60):
            with transaction.atomic():
                publish_event(Marked(label={label!r}))
        """
    quiet.run(publish)
    relays = [relay(quiet), relay(quiet)]
    quiet.run(publish)
    for process in relays:
        finish(process)
    finish(relay(quiet))

    assert states(quiet) == {"done": 120}
    assert quiet.query("SELECT max(attempts) FROM share_kernel_outbox_delivery") == [(1,)]
    assert len(quiet.effects(label)) == 120


@pytest.mark.only_on("postgresql")
def test_a_rival_that_holds_the_row_for_an_instant_costs_no_attempt(
    durable: Stack, label: str
) -> None:
    """Il l’a verrouillée juste après la réservation, pour constater qu’il arrive trop tard."""
    quiet = replace(durable, broker_url="")
    quiet.run(
        f"""
        import threading
        import psycopg
        from src.share_kernel.infrastructure.outbox.models import DeliveryQuerySet
        from src.share_kernel.infrastructure.outbox.relay import relay
        reserve = DeliveryQuerySet.reserve
        def reserve_then_be_rivalled(*args, **options):
            rows = reserve(*args, **options)
            rival = psycopg.connect({quiet.database_url!r})
            rival.execute("SELECT 1 FROM share_kernel_outbox_delivery FOR UPDATE")
            threading.Timer(0.05, rival.close).start()
            return rows
        DeliveryQuerySet.reserve = reserve_then_be_rivalled
        publish_event(Marked(label={label!r}))
        relay(execute=True)
        """
    )

    assert states(quiet) == {"done": 1}
    assert quiet.query("SELECT attempts FROM share_kernel_outbox_delivery") == [(1,)]


@pytest.mark.only_on("postgresql")
def test_a_restarted_database_is_survived(durable: Stack, label: str) -> None:
    """Toutes les connexions sont coupées par le serveur, comme quand il redémarre."""
    quiet = replace(durable, broker_url="")
    name = urlsplit(quiet.database_url).path[1:]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "relay_events", "--execute"],
        cwd=ROOT,
        env=quiet.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        quiet.run(f"publish_event(Marked(label='{label}-1'))")
        quiet.until_effects(f"{label}-1", 1)
        with psycopg.connect(durable.database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s AND pid <> pg_backend_pid()",
                (name,),
            )
        quiet.run(f"publish_event(Marked(label='{label}-2'))")
        quiet.until_effects(f"{label}-2", 1)
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=patience())

    assert process.returncode == 0, printed
    assert printed.rstrip().endswith("relayed.")


def test_a_bulk_publication_is_sent_in_few_messages(durable: Stack, label: str) -> None:
    """Dans une file à elle, sans worker : rien d’autre n’y passe."""
    mine = replace(durable, queue=new_queue())
    mine.run(
        f"""
        from src.share_kernel.infrastructure.event_bus import publish_events
        with transaction.atomic():
            publish_events([Marked(label={label!r}) for _ in range(250)])
        """
    )

    assert mine.queue_length() == 3
    mine.delete_queue()
    finish(relay(mine))
    assert states(mine) == {"done": 250}
    assert len(mine.effects(label)) == 250


def test_a_broker_that_fails_does_not_lengthen_the_leases(
    durable: Stack, behind_proxy: Stack, proxy: Proxy, label: str
) -> None:
    proxy.stop()
    broken = replace(durable, broker_url=behind_proxy.broker_url)

    printed = broken.run(
        f"""
        from src.share_kernel.infrastructure import broker
        from src.share_kernel.infrastructure.outbox.models import Delivery
        from src.share_kernel.infrastructure.outbox.relay import relay
        publish_event(Marked(label={label!r}))
        for _ in range(5):
            Delivery.objects.update(send_after=Delivery.objects.get().created_at)
            broker.breaker.tripped_at = float("-inf")
            print("relayed", relay())
        row = Delivery.objects.get()
        print("sends", row.sends)
        """
    )

    assert printed.count("relayed 0") == 5
    assert "sends 1" in printed


class TestAHandlerThat:
    def test_leaves_its_process_has_its_error_written_first(
        self, durable: Stack, durable_worker: Worker, label: str
    ) -> None:
        durable.run(
            f"""
            publish_event(Limited(label={label!r}, how="leave"))
            publish_event(Marked(label=f"{label}-after"))
            """
        )
        durable.until_effects(f"{label}-after", 1)

        eventually(lambda: len(attempted(durable)) == 4, "four attempts")
        error = "SystemExit: closing early"
        assert rows(durable) == {
            "once": ("dead", 1, error),
            "twice": ("pending", 1, error),
            "thrice": ("pending", 1, error),
            "mark": ("done", 1, ""),
        }
        assert durable.effects(label) == []

    @pytest.mark.parametrize("how", ["fail_after_commit", "leave_after_commit"])
    def test_has_a_callback_that_fails_is_done(
        self, durable: Stack, durable_worker: Worker, label: str, how: str
    ) -> None:
        durable.run(
            f"""
            publish_event(Unlucky(label={label!r}, how={how!r}))
            publish_event(Marked(label=f"{label}-after"))
            """
        )

        durable.until_effects(f"{label}-after", 1)
        durable_worker.waits_for("An on_commit callback of handler tests.services.shop.handlers.u")
        eventually(lambda: len(attempted(durable)) == 2, "two attempts")
        assert rows(durable) == {"unlucky": ("done", 1, ""), "mark": ("done", 1, "")}
        finish(relay(durable))
        assert len(durable.effects(label)) == 1
        assert durable.attempts("unlucky", label) == 1

    def test_is_revoked_leaves_a_row_that_is_delivered_later(
        self, durable: Stack, durable_worker: Worker, label: str
    ) -> None:
        durable.run(f"publish_event(Unlucky(label={label!r}, how='hang', times=1))")
        process = durable.until_it_hangs()
        (task,) = re.findall(r"share_kernel.deliver\[(.*?)\] received", durable_worker.log)

        durable.run(f"from conf.celery import app; app.control.revoke({task!r}, terminate=True)")

        eventually(lambda: has_ended(process), "the end of the process")
        ((state, attempts, error),) = rows(durable).values()
        assert (state, attempts) == ("pending", 1)
        assert error.startswith("SystemExit")
        eventually(lambda: finish(relay(durable)) and durable.effects(label), "another attempt")
        assert rows(durable) == {"unlucky": ("done", 2, "")}
        assert durable.attempts("unlucky", label) == 2


def rows(stack: Stack) -> dict[str, tuple[str, int, str]]:
    sql = "SELECT handler, state, attempts, error FROM share_kernel_outbox_delivery"
    return {handler.rpartition(".")[2]: tuple(rest) for handler, *rest in stack.query(sql)}


def attempted(stack: Stack) -> list[str]:
    """Renvoie les handlers dont le premier essai a eu un verdict."""
    return [
        name
        for name, (state, attempts, error) in rows(stack).items()
        if state != "pending" or (attempts and error)
    ]
