"""Les services, trouvés par variables d’environnement ou à leur adresse habituelle."""

import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from kombu import Connection

from .proxy import Proxy
from .stack import Stack, Worker, new_queue

SERVICES = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:5672//",
    "POSTGRES_URL": "postgresql://postgres@127.0.0.1:5432/postgres",
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
        message = f"{variable}: no service at {parts.hostname}:{parts.port} ({error})"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return url


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    url = service("POSTGRES_URL")
    name = f"test_share_kernel_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session", params=["sqlite+redis", "postgresql+rabbitmq"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    if request.param == "sqlite+redis":
        database, broker = f"sqlite:///{folder / 'db.sqlite3'}", service("REDIS_URL")
    else:
        broker = service("RABBITMQ_URL")
        database = request.getfixturevalue("postgres_database")
    stack = Stack(request.param, database, broker, folder)
    stack.migrate()
    yield stack
    with Connection(broker) as connection:
        connection.SimpleQueue(stack.queue).queue.delete()


@pytest.fixture(scope="session")
def worker(stack: Stack) -> Iterator[Worker]:
    with stack.worker(TEST_MAX_DEPTH="4") as worker:
        yield worker


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
    with Connection(stack.broker_url) as connection:
        connection.SimpleQueue(durable.queue).queue.delete()


@pytest.fixture(scope="session")
def durable_worker(durable: Stack) -> Iterator[Worker]:
    with durable.worker(concurrency=4) as worker:
        yield worker
