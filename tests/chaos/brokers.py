"""Des brokers privés, que la tourmente a le droit de tuer."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from .children import Child
from .missing import MissingError

LOCALHOST = "127.0.0.1"
# Debian’s /usr/sbin/rabbitmq-server changes user and forgets the environment.
RABBITMQ = ("/usr/lib/rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server") or "")


class Broker(ABC):
    """Un broker sur un port libre de la machine, et dont le dossier est jetable."""

    scheme: ClassVar[str]
    login: ClassVar[str] = ""
    child: Child

    def __init__(self) -> None:
        self.port = free_port()

    @property
    def url(self) -> str:
        """L’adresse à donner à Celery."""
        return f"{self.scheme}://{self.login}{LOCALHOST}:{self.port}//"

    def start(self) -> None:
        """Démarre le broker, sans attendre qu’il réponde."""
        self.child.start()

    def kill(self) -> None:
        """Tue le broker, sans prévenir."""
        self.child.kill()

    def runs(self) -> bool:
        """Dit si le processus du broker vit."""
        return self.child.runs()

    @abstractmethod
    def empty(self) -> None:
        """Fait tout oublier au broker, qui tourne."""

    @abstractmethod
    def answers(self) -> bool:
        """Dit si le broker parle son protocole."""

    def close(self) -> None:
        """Ne laisse rien tourner."""
        self.kill()

    def says(self, sent: bytes, expected: bytes) -> bool:
        """Dit si le broker répond *expected* à *sent*."""
        try:
            with socket.create_connection((LOCALHOST, self.port), timeout=2) as connection:
                connection.sendall(sent)
                return connection.recv(64).startswith(expected)
        except OSError:
            return False


class Redis(Broker):
    """Redis sans persistance : le tuer, c’est aussi le vider."""

    scheme = "redis"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        program = shutil.which("redis-server")
        if program is None:
            raise MissingError("redis-server: not in PATH")
        self.child = Child(
            "broker", "redis",
            [program, "--bind", LOCALHOST, "--port", str(self.port), "--save", "",
             "--appendonly", "no", "--dir", str(folder)],
            dict(os.environ), folder,
        )  # fmt: skip

    @property
    def url(self) -> str:
        """L’adresse à donner à Celery."""
        return f"redis://{LOCALHOST}:{self.port}/0"

    def empty(self) -> None:
        """Vide toutes les files, connexions ouvertes."""
        self.says(b"FLUSHALL\r\n", b"+OK")

    def answers(self) -> bool:
        """Dit si Redis répond à PING."""
        return self.says(b"PING\r\n", b"+PONG")


class RabbitMQ(Broker):
    """RabbitMQ avec son propre nœud, ses propres ports et ses propres dossiers."""

    scheme = "amqp"
    login = "guest:guest@"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        program = next((path for path in RABBITMQ if os.access(path, os.X_OK)), None)
        mapper = shutil.which("epmd")
        if program is None or mapper is None:
            raise MissingError("rabbitmq-server: neither it nor epmd is installed")
        self.data = folder / "rabbitmq"
        self.data.mkdir()
        epmd_port, dist_port = free_port(), free_port()
        (self.data / "none.conf").touch()  # the machine’s own files would name the shared node
        (self.data / "plugins").write_text("[].")
        env = {
            **{key: value for key, value in os.environ.items() if "RABBITMQ" not in key},
            "HOME": str(self.data),  # where the Erlang cookie goes
            "ERL_EPMD_ADDRESS": LOCALHOST,
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": f"chaos{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOCALHOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self.data / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.data / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.data / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data / "log"),
            "RABBITMQ_PID_FILE": str(self.data / "pid"),
        }
        self.child = Child("broker", "rabbitmq", [program], env, folder)
        # RabbitMQ would start one that outlives it.
        self.mapper = Child("broker", "epmd", [mapper], env, folder)

    def start(self) -> None:
        """Démarre le nœud, et d’abord son annuaire."""
        if not self.mapper.runs():
            self.mapper.start()
        super().start()

    def empty(self) -> None:
        """Tue le nœud et efface ses files ; il redémarre comme au premier jour."""
        self.kill()
        shutil.rmtree(self.data / "mnesia", ignore_errors=True)
        self.start()

    def answers(self) -> bool:
        """Dit si RabbitMQ ouvre la négociation d’AMQP."""
        return self.says(b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")

    def close(self) -> None:
        """Ne laisse rien tourner."""
        super().close()
        self.mapper.kill()


def free_port() -> int:
    """Renvoie un port que personne n’écoute."""
    with socket.create_server((LOCALHOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def running(kind: type[Redis | RabbitMQ] | None, folder: Path) -> Iterator[Broker | None]:
    """Un broker démarré, ou aucun."""
    if kind is None:
        yield None
        return
    broker = kind(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()
