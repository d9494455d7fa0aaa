"""Les services, trouvés par variables d’environnement ou à leur adresse habituelle."""

import contextlib
import importlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

import pytest
from pytest_django import DjangoDbBlocker

from .databases import mariadb_database, postgresql_database
from .proxy import Proxy
from .registers import Register, register_at
from .stack import Stack, Worker, new_queue

OpenRegister: TypeAlias = Callable[..., Register]

SERVICES = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:5672//",
    "POSTGRES_URL": "postgresql://postgres@127.0.0.1:5432/postgres",
    "MARIADB_URL": "mysql://root@127.0.0.1:3306/test",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``only_on("postgresql")`` : ce test n’a pas lieu d’être sur une autre pile."""
    away = {item for item in items if not _fits(item)}
    if away:
        config.hook.pytest_deselected(items=list(away))
        items[:] = [item for item in items if item not in away]


def _fits(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("only_on")
    stack = getattr(item, "callspec").params["stack"] if mark else ""  # noqa: B009
    return mark is None or mark.args[0] in stack.split("+")


def service(variable: str) -> str:
    """Renvoie l’adresse d’un service qui répond, ou saute le test en disant lequel manque."""
    url = os.environ.get(variable, SERVICES[variable])
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError as error:
        missing(f"{variable}: no service at {parts.hostname}:{parts.port} ({error})")
    return url


def missing(message: str) -> NoReturn:
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)


def mariadb_service() -> str:
    """Renvoie l’adresse de MariaDB, si le pilote est là aussi ; sinon saute le test."""
    url = service("MARIADB_URL")
    try:
        importlib.import_module("MySQLdb")
    except ImportError as error:
        missing(f"MARIADB_URL: install mysqlclient, which `make` could not build ({error})")
    return url


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    with postgresql_database(service("POSTGRES_URL")) as url:
        yield url


@pytest.fixture(scope="session")
def maria_database() -> Iterator[str]:
    with mariadb_database(mariadb_service()) as url:
        yield url


@pytest.fixture(scope="session")
def register_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """L’adresse d’une base neuve par serveur et par usage, que les tests se partagent."""
    with contextlib.ExitStack() as databases:
        urls: dict[str, str] = {}

        def new(server: str) -> str:
            if server.startswith("sqlite"):
                return f"sqlite:///{tmp_path_factory.mktemp('register') / 'db.sqlite3'}"
            return databases.enter_context(
                mariadb_database(mariadb_service())
                if server.startswith("mariadb")
                else postgresql_database(service("POSTGRES_URL"))
            )

        def url(server: str) -> str:
            if server not in urls:
                urls[server] = new(server)
            return urls[server]

        yield url


@pytest.fixture
def open_register(
    register_urls: Callable[[str], str], django_db_blocker: DjangoDbBlocker, outbox: None
) -> Iterator[OpenRegister]:
    """De quoi ouvrir, dans ce processus, le registre d’un serveur avec les ``OPTIONS`` données."""
    with django_db_blocker.unblock(), contextlib.ExitStack() as registers:

        def open_one(server: str, using: str = "", **options: Any) -> Register:
            url = register_urls(f"{server} {using}".strip())
            return registers.enter_context(register_at(using or server, url, **options))

        yield open_one


@pytest.fixture
def mariadb(open_register: OpenRegister) -> Register:
    return open_register("mariadb")


@pytest.fixture
def postgresql(open_register: OpenRegister) -> Register:
    return open_register("postgresql")


@pytest.fixture(params=["postgresql", "mariadb"])
def register(request: pytest.FixtureRequest, open_register: OpenRegister) -> Register:
    return open_register(request.param)


TWO_STACKS = ["sqlite+redis", "postgresql+rabbitmq"]
# A test that speaks of the database asks for the third: @pytest.mark.parametrize("stack", …).
THREE_STACKS = [*TWO_STACKS, "mariadb+redis"]


@pytest.fixture(scope="session", params=TWO_STACKS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    database_kind, broker_kind = request.param.split("+")
    broker = service({"redis": "REDIS_URL", "rabbitmq": "RABBITMQ_URL"}[broker_kind])
    if database_kind == "sqlite":
        database = f"sqlite:///{folder / 'db.sqlite3'}"
    else:
        fixture = {"postgresql": "postgres_database", "mariadb": "maria_database"}[database_kind]
        database = request.getfixturevalue(fixture)
    stack = Stack(request.param, database, broker, folder)
    stack.migrate()
    yield stack
    stack.delete_queue()


@pytest.fixture(scope="session")
def worker(stack: Stack) -> Iterator[Worker]:
    with stack.worker(TEST_MAX_DEPTH="4") as worker:
        yield worker


@pytest.fixture
def apart(stack: Stack) -> Iterator[Stack]:
    """La pile, avec une file à soi."""
    apart = replace(stack, queue=new_queue())
    yield apart
    apart.delete_queue()


@pytest.fixture(autouse=True)
def _marks(request: pytest.FixtureRequest) -> None:
    """Chaque test ne lit, du journal d’un worker partagé, que ce qui suit son début."""
    for name in ("worker", "durable_worker"):
        if name in request.fixturenames:
            request.getfixturevalue(name).mark()


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    parts = urlsplit(stack.broker_url)
    proxy = Proxy((parts.hostname or "", parts.port or 0))
    yield proxy
    proxy.stop()


@pytest.fixture
def behind_proxy(stack: Stack, proxy: Proxy) -> Stack:
    """La même pile, dont le broker est atteint par le relais."""
    parts = urlsplit(stack.broker_url)
    login = f"{parts.username}:{parts.password}@" if parts.username else ""
    url = parts._replace(netloc=f"{login}127.0.0.1:{proxy.port}").geturl()
    return replace(stack, broker_url=url)


@pytest.fixture(scope="session")
def durable(stack: Stack) -> Iterator[Stack]:
    """La pile, avec le registre dans INSTALLED_APPS."""
    durable = replace(stack, queue=new_queue(), extra_env={"OUTBOX": "1"})
    durable.migrate()
    yield durable
    durable.delete_queue()


@pytest.fixture(scope="session")
def durable_worker(durable: Stack) -> Iterator[Worker]:
    with durable.worker(concurrency=4) as worker:
        yield worker
