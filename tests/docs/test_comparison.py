"""La page de comparaison : sa forme, ses sources, et ce qui peut s’y exécuter."""

import ast
import asyncio
import gc
import importlib.metadata
import io
import re
import tomllib
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import blinker
import pytest
from celery import Celery
from celery.contrib.django.task import DjangoTask
from django.apps import apps
from django.core.checks.model_checks import check_lazy_references
from django.core.management import call_command, get_commands
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import Signal
from kombu.exceptions import OperationalError

from src.module.tenant.models import Tenant
from src.share_kernel.checks import check_subscriptions
from src.share_kernel.domain.domain_event import (
    DomainEvent,
    EventDefinitionError,
    PermanentFailure,
    SubscriptionError,
    register_event,
)
from src.share_kernel.infrastructure.event_bus import (
    publish_event,
    subscribe_async,
    subscribe_sync,
)
from src.share_kernel.version import __version__
from tests.share_kernel.events import OrderPaid, OrderPlaced

from .pages import DOCS, ROOT

PAGE = (DOCS / "explications" / "comparaison.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[[^\]]*\]\(([^)]+)\)")
HOSTS = {
    "artui.github.io",
    "blinker.readthedocs.io",
    "docs.celeryq.dev",
    "docs.djangoproject.com",
    "docs.spring.io",
    "github.com",
    "laravel.com",
    "opentelemetry-python-contrib.readthedocs.io",
    "symfony.com",
}
UNSOURCED = {"non", "sans objet"}  # an absence has no address

Table = list[list[str]]
App: TypeAlias = "Celery[DjangoTask[Any, Any]]"


def tables() -> list[Table]:
    """Renvoie les tableaux de la page : leurs lignes, en-tête comprise."""
    found = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in found
    ]


def comparisons() -> list[Table]:
    return [table for table in tables() if table[0][0] == "critère"]


def versions() -> dict[str, str]:
    header, _rule, *rows = next(table for table in tables() if "version" in table[0])
    assert header == ["outil", "version", "source"]
    return {name: version for name, version, _source in rows}


def answers(criterion: str) -> dict[str, str]:
    """Renvoie, par outil, la réponse à un critère, sans son lien."""
    return {
        tool: re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
        for header, _rule, *rows in comparisons()
        for row in rows
        if row[0] == criterion
        for tool, cell in zip(header[1:], row[1:], strict=True)
    }


class TestThePage:
    def test_it_compares_eight_tools_on_the_same_criteria(self) -> None:
        criteria = {tuple(row[0] for row in table) for table in comparisons()}
        tools = [name for table in comparisons() for name in table[0][2:]]

        assert len(tools) == len(set(tools)) == 8
        assert len(criteria) == 1

    def test_it_says_the_same_of_this_bus_everywhere(self) -> None:
        columns = {tuple(row[1] for row in table) for table in comparisons()}

        assert len(columns) == 1
        assert [table[0][1] for table in comparisons()] == ["ce bus"] * 4

    def test_every_answer_has_a_source(self) -> None:
        for header, _rule, *rows in comparisons():
            for row in rows:
                for tool, cell in zip(header[1:], row[1:], strict=True):
                    assert cell in UNSOURCED or LINK.fullmatch(cell), (tool, row[0], cell)

    def test_every_row_of_the_versions_has_a_source(self) -> None:
        _header, _rule, *rows = next(table for table in tables() if "version" in table[0])

        assert len(rows) == 9
        assert all(LINK.search(source) for _tool, _version, source in rows)

    def test_the_sources_are_the_projects_own(self) -> None:
        outside = [urlsplit(url) for url in LINK.findall(PAGE) if "://" in url]

        assert {url.scheme for url in outside} == {"https"}
        assert {url.netloc for url in outside} == HOSTS

    def test_it_is_dated(self) -> None:
        assert "24 novembre 2026" in PAGE


class TestVersions:
    def test_of_this_bus(self) -> None:
        assert versions()["ce bus"] == __version__

    def test_of_django_are_those_of_the_constraints(self) -> None:
        shown = re.findall(r"\d+\.\d+", versions()["signaux de Django"])

        assert shown == [".".join(pinned.split(".")[:2]) for pinned in pinned_versions("django")]

    @pytest.mark.parametrize(("tool", "package"), [("blinker", "blinker"), ("Celery", "celery")])
    def test_of_what_is_run_here(self, tool: str, package: str) -> None:
        assert pinned_versions(package) == [versions()[tool]]
        assert importlib.metadata.version(package) == versions()[tool]

    def test_the_links_to_code_name_the_version(self) -> None:
        assert f"blinker/blob/{versions()['blinker']}/" in PAGE
        assert f"celery/blob/v{versions()['Celery']}/" in PAGE


def pinned_versions(package: str) -> list[str]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.findall(rf"^{package}==(\S+)", text, re.MULTILINE)


class Boom(Exception):
    pass


def explode(*_args: Any, **_kwargs: Any) -> None:
    raise Boom


def write(*_args: Any, **_kwargs: Any) -> None:
    assert Tenant.objects.create(slug="petit").pk


@pytest.mark.django_db(transaction=True)
class TestDjangoSignals:
    def test_run_in_the_transaction_of_the_sender(self) -> None:
        signal = Signal()
        signal.connect(write)

        with pytest.raises(Boom), transaction.atomic():
            signal.send(sender=None)
            raise Boom

        assert not Tenant.objects.exists()

    def test_a_failing_receiver_stops_the_next_ones(self) -> None:
        signal, seen = Signal(), []

        def receiver(**_kwargs: Any) -> None:
            seen.append(1)

        signal.connect(explode)
        signal.connect(receiver)

        with pytest.raises(Boom):
            signal.send(sender=None)
        assert seen == []

    def test_send_robust_calls_them_all_and_does_not_roll_back(self) -> None:
        signal, seen = Signal(), []

        def receiver(**_kwargs: Any) -> None:
            seen.append(1)

        signal.connect(explode)
        signal.connect(receiver)
        with transaction.atomic():
            Tenant.objects.create(slug="ferrand")
            [(_receiver, error), _second] = signal.send_robust(sender=None)

        assert isinstance(error, Boom)
        assert seen == [1]
        assert Tenant.objects.filter(slug="ferrand").exists()

    def test_a_local_function_vanishes(self) -> None:
        signal, seen = Signal(), []

        def connect() -> None:
            def receiver(**_kwargs: Any) -> None:
                seen.append(1)

            signal.connect(receiver)

        connect()
        gc.collect()
        signal.send(sender=None)

        assert seen == []

    def test_one_receiver_hears_every_sender(self) -> None:
        signal, seen = Signal(), []

        def receiver(sender: Any, **_kwargs: Any) -> None:
            seen.append(sender)

        signal.connect(receiver)
        signal.send(sender=Tenant)
        signal.send(sender=Boom)

        assert seen == [Tenant, Boom]

    def test_async_receivers_run_concurrently(self) -> None:
        signal, both = Signal(), asyncio.Barrier(2)

        async def first(**_kwargs: Any) -> None:
            await both.wait()

        async def second(**_kwargs: Any) -> None:
            await both.wait()

        signal.connect(first)
        signal.connect(second)

        async def send() -> None:
            async with asyncio.timeout(5):  # one after the other, they would wait for ever
                await signal.asend(sender=None)

        asyncio.run(send())

    def test_a_check_knows_a_model_sender_that_does_not_exist(self) -> None:
        post_save.connect(explode, sender="tenant.NoSuchModel", weak=False)
        try:
            found = [message.id for message in check_lazy_references(None)]
        finally:
            apps._pending_operations.pop(("tenant", "nosuchmodel"))

        assert found == ["signals.E001"]


@pytest.mark.django_db(transaction=True)
class TestBlinker:
    def test_runs_in_the_transaction_of_the_sender(self) -> None:
        signal = blinker.Signal()
        signal.connect(write)

        with pytest.raises(Boom), transaction.atomic():
            signal.send()
            raise Boom

        assert not Tenant.objects.exists()

    def test_a_failing_receiver_stops_the_next_ones(self) -> None:
        calls: list[int] = []
        signal = blinker.Signal()
        receivers = [failing_after(calls) for _ in range(3)]  # their order is undefined
        for receiver in receivers:
            signal.connect(receiver)

        with pytest.raises(Boom):
            signal.send()
        assert calls == [1]

    def test_the_order_of_the_calls_is_undefined(self) -> None:
        assert blinker.Signal.set_class is set
        assert "order receivers are called is undefined" in (blinker.Signal.send.__doc__ or "")

    def test_connected_to_and_muted_last_a_block(self) -> None:
        signal, seen = blinker.Signal(), []

        def receiver(sender: Any) -> None:
            seen.append(sender)

        with signal.connected_to(receiver):
            signal.send("plugged")
            with signal.muted():
                signal.send("muted")
        signal.send("unplugged")

        assert seen == ["plugged"]

    def test_one_receiver_hears_every_sender(self) -> None:
        signal, seen = blinker.Signal(), []

        def receiver(sender: Any) -> None:
            seen.append(sender)

        signal.connect(receiver)
        signal.send("a")
        signal.send("b")

        assert seen == ["a", "b"]

    def test_coroutines_need_send_async(self) -> None:
        signal, seen = blinker.Signal(), []

        async def receiver(sender: Any) -> None:
            seen.append(sender)

        signal.connect(receiver)

        with pytest.raises(RuntimeError, match="coroutine"):
            signal.send("a")
        asyncio.run(signal.send_async("b"))
        assert seen == ["b"]

    def test_it_depends_on_nothing(self) -> None:
        assert not importlib.metadata.requires("blinker")
        assert answers("Dépend de")["blinker"] == "rien d’autre"


def failing_after(calls: list[int]) -> Callable[[Any], None]:
    def receiver(_sender: Any) -> None:
        calls.append(1)
        raise Boom

    return receiver


@pytest.fixture
def celery_app() -> App:
    """Une application à part : l’application courante reste celle du projet."""
    app = Celery("comparison", broker="memory://", task_cls=DjangoTask, set_as_current=False)
    app.conf.task_default_queue = "comparison"
    return app


def sent(app: App) -> list[Any]:
    """Renvoie les messages de la file, et la vide."""
    messages: list[Any] = []
    with app.connection_for_read() as broker:
        queue = broker.SimpleQueue("comparison")
        with suppress(queue.Empty):
            while True:
                messages.append(queue.get_nowait())
                messages[-1].ack()
    return messages


@pytest.mark.django_db(transaction=True)
class TestDelayOnCommit:
    def test_sends_after_the_commit_and_gives_no_identifier(self, celery_app: App) -> None:
        task = celery_app.task(name="orders.confirm", shared=False)(explode)

        with transaction.atomic():
            assert task.delay_on_commit() is None
            assert sent(celery_app) == []

        assert len(sent(celery_app)) == 1

    def test_sends_nothing_of_a_transaction_rolled_back(self, celery_app: App) -> None:
        task = celery_app.task(name="orders.confirm", shared=False)(explode)

        with pytest.raises(Boom), transaction.atomic():
            task.delay_on_commit()
            raise Boom

        assert sent(celery_app) == []

    def test_a_send_that_fails_loses_the_next_callbacks_after_the_commit(self) -> None:
        app = Celery(
            "refused", broker="amqp://127.0.0.1:1//", task_cls=DjangoTask, set_as_current=False
        )
        app.conf.task_publish_retry_policy = {"max_retries": 0}
        task = app.task(name="orders.confirm", shared=False)(explode)
        seen: list[int] = []

        with pytest.raises(OperationalError), transaction.atomic():
            Tenant.objects.create(slug="moreau")
            task.delay_on_commit()
            transaction.on_commit(lambda: seen.append(1))

        assert seen == []
        assert Tenant.objects.filter(slug="moreau").exists()

    def test_the_name_of_a_task_can_outlive_its_module(self, celery_app: App) -> None:
        assert (
            celery_app.task(name="orders.confirm", shared=False)(explode).name == "orders.confirm"
        )

    def test_a_message_names_the_root_and_the_parent_of_its_task(self, celery_app: App) -> None:
        celery_app.task(name="orders.confirm", shared=False)(explode).delay_on_commit()

        [message] = sent(celery_app)
        assert message.headers["root_id"] == message.headers["id"]
        assert message.headers["parent_id"] is None

    def test_a_coroutine_is_not_awaited(self, celery_app: App) -> None:
        ran: list[int] = []

        async def confirm() -> None:
            ran.append(1)

        result = celery_app.task(name="orders.confirm", shared=False)(confirm).apply().result

        assert asyncio.iscoroutine(result)
        result.close()
        assert ran == []


@dataclass(frozen=True)
class Family(DomainEvent):
    """Une classe parente, sans nom."""


@pytest.mark.django_db(transaction=True)
class TestOurColumn:
    def test_a_handler_hears_a_family_of_events(self) -> None:
        seen: list[DomainEvent] = []
        subscribe_sync(Family, seen.append)

        @register_event
        @dataclass(frozen=True)
        class Child(Family):
            event_type = "comparison.child"

        child = Child()
        publish_event(child)
        publish_event(OrderPlaced())

        assert seen == [child]
        assert answers("Plusieurs types à la fois")["ce bus"].startswith("une classe")

    def test_a_name_is_no_pattern(self) -> None:
        seen: list[DomainEvent] = []
        subscribe_sync("*", seen.append)
        subscribe_sync("shop.*", seen.append)
        publish_event(OrderPlaced())

        assert seen == []
        assert [message.id for message in check_subscriptions()] == ["share_kernel.E001"] * 2

    def test_a_sync_failure_stops_everything_an_async_one_does_not(self) -> None:
        seen: list[str] = []
        subscribe_sync(OrderPlaced, explode)
        subscribe_sync(OrderPlaced, lambda _event: seen.append("sync"))
        subscribe_async(OrderPaid, explode, name="explode")
        subscribe_async(OrderPaid, lambda _event: seen.append("async"), name="seen")

        with pytest.raises(Boom), transaction.atomic():
            publish_event(OrderPlaced())
        publish_event(OrderPaid())

        assert seen == ["async"]

    @pytest.mark.usefixtures("outbox")
    def test_the_register_is_not_a_log(self) -> None:
        from src.share_kernel.infrastructure.outbox.models import Delivery

        subscribe_sync(OrderPlaced, lambda _event: None)
        publish_event(OrderPlaced())

        assert not Delivery.objects.exists()

    @pytest.mark.usefixtures("outbox")
    def test_only_what_was_given_up_can_be_replayed(self) -> None:
        from src.share_kernel.infrastructure.outbox.relay import relay

        def give_up(_event: DomainEvent) -> None:
            raise PermanentFailure("no")

        subscribe_async(OrderPlaced, give_up, name="give_up")
        subscribe_async(OrderPlaced, lambda _event: None, name="succeed")
        publish_event(OrderPlaced())
        relay(execute=True)
        output = io.StringIO()
        call_command("replay_events", "--all", stdout=output)

        assert output.getvalue() == "Deliveries that will be replayed: 1.\n"

    def test_coroutines_wait_for_the_commit(self) -> None:
        async def handler(_event: DomainEvent) -> None:
            pass

        with pytest.raises(SubscriptionError):
            subscribe_sync(OrderPlaced, handler)
        subscribe_async(OrderPlaced, handler, name="handler")

        assert answers("`async def`")["ce bus"] == "après le commit"

    def test_a_strong_reference_keeps_a_local_handler(self) -> None:
        seen: list[DomainEvent] = []

        def subscribe() -> "weakref.ref[Callable[..., None]]":
            def handler(event: DomainEvent) -> None:
                seen.append(event)

            subscribe_sync(OrderPlaced, handler)
            return weakref.ref(handler)

        handler = subscribe()
        gc.collect()
        publish_event(OrderPlaced())

        assert handler() is not None
        assert len(seen) == 1

    def test_the_name_of_a_message_is_declared(self) -> None:
        with pytest.raises(EventDefinitionError, match="event_type"):
            register_event(Family)

    def test_it_has_as_many_commands_as_it_says(self) -> None:
        ours = [name for name, app in get_commands().items() if "share_kernel" in str(app)]

        assert answers("Outils de suivi")["ce bus"].startswith(f"{len(ours)} commandes")

    def test_it_needs_what_it_says(self) -> None:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        needs = {
            re.split(r"[<>=]", item)[0] for item in tomllib.loads(text)["project"]["dependencies"]
        }
        tables = list(apps.get_app_config("share_kernel_outbox").get_models())

        assert imported("src/share_kernel") & needs == {"django", "msgspec"}
        assert len(tables) == 1
        assert answers("Dépend de")["ce bus"].startswith("Django, msgspec")

    def test_it_emits_no_trace(self) -> None:
        assert not {"opentelemetry", "sentry_sdk"} & imported("src/share_kernel")
        assert answers("Traces")["ce bus"] == "non"


def imported(folder: str) -> set[str]:
    """Renvoie les paquets qu’importe le code d’un dossier."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {item.name.partition(".")[0] for item in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found
