"""Ceux que l’on compare, et la scène où chacun travaille à son tour."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.chaos.brokers import Redis
from tests.chaos.children import ROOT, Child

from .server import Server

MANAGE = (sys.executable, str(ROOT / "manage.py"))
RELAY = (*MANAGE, "relay_events", "--execute")
CELERY = (sys.executable, "-m", "celery", "-A", "conf", "worker", "-c2", "--loglevel=WARNING")
OUTBOX = "src.share_kernel.infrastructure.outbox"


@dataclass(frozen=True)
class Contestant:
    """Comment un concurrent publie, et les processus qui travaillent pour lui."""

    key: str
    name: str
    jobs: str  # a module of app.jobs
    worker: Sequence[str]
    workers: int = 1
    apps: Sequence[str] = ()
    package: str = ""  # what must be installed, if the project itself does not ask for it
    env: Mapping[str, str] = field(default_factory=dict)
    has_broker: bool = False
    has_latency: bool = True
    shows_misses: bool = True  # its claims go through Django's connection

    @property
    def is_installed(self) -> bool:
        """Dit si son paquet est là."""
        try:
            return not self.package or bool(version(self.package))
        except PackageNotFoundError:
            return False


CONTESTANTS = (
    Contestant("relay", "one relay", "bus", RELAY, apps=(OUTBOX,)),
    Contestant("relay-2", "two relays", "bus", RELAY, 2, (OUTBOX,), has_latency=False),
    Contestant("relay-4", "four relays", "bus", RELAY, 4, (OUTBOX,), has_latency=False),
    Contestant("register-celery", "register and Celery", "bus", CELERY, apps=(OUTBOX,),
               has_broker=True),
    Contestant("celery", "a Celery task", "celery_task", CELERY, has_broker=True,
               shows_misses=False),
    Contestant("celery-kept", "a Celery task, its connection kept", "celery_task", CELERY,
               has_broker=True, shows_misses=False, has_latency=False,
               env={"BENCH_REUSE": "1000000"}),
    Contestant("procrastinate", "`procrastinate`", "procrastinate_job",
               (*MANAGE, "procrastinate", "worker"), apps=("procrastinate.contrib.django",),
               package="procrastinate", shows_misses=False),
    Contestant("tasks-db", "`django-tasks-db`", "tasks_db", (*MANAGE, "db_worker"),
               apps=("django_tasks_db",), package="django-tasks-db"),
    Contestant("domain-events", "`django-domain-events`", "domain_events",
               (*MANAGE, "deliver_events"), apps=("django_domain_events",),
               package="django-domain-events"),
)  # fmt: skip


@dataclass
class Stage:
    """Le serveur, le broker, et de quoi y faire travailler quelqu’un."""

    server: Server
    broker: Redis
    folder: Path

    @property
    def misses(self) -> Path:
        """Où chacun note ses réservations vaines."""
        return self.folder / "misses.txt"

    def fresh(self, one: Contestant, database: str = "bench") -> str:
        """Crée une base où ce concurrent n’a encore rien fait, et oublie le reste."""
        self.broker.empty()
        template = f"template_{one.jobs}_{len(one.apps)}"  # for all who have the same tables
        if not self.server.ask(f"SELECT 1 FROM pg_database WHERE datname = '{template}'"):
            self.server.create(template)
            self.run(one, template, *MANAGE, "migrate", "--run-syncdb", "--verbosity=0")
        self.misses.write_text("")
        return self.server.create(database, template)

    def publish(self, one: Contestant, database: str, count: int, size: int, pause: float = 0,
                ) -> dict[str, Any]:  # fmt: skip
        """Publie *count* travaux ; renvoie ce que dit :mod:`.publishing`."""
        program = (sys.executable, "-m", "tests.bench.register.publishing")
        said = self.run(one, database, *program, str(count), str(size), str(pause))
        told: dict[str, Any] = json.loads(said.splitlines()[-1])
        return told

    def run(self, one: Contestant, database: str, *command: str) -> str:
        """Exécute un programme jusqu’à sa fin, qui doit être bonne ; renvoie ce qu’il a dit."""
        child = self._child(one, database, "program", command)
        child.log_path.unlink(missing_ok=True)
        child.finish()
        return child.log_path.read_text(errors="replace")

    @contextlib.contextmanager
    def working(self, one: Contestant, database: str) -> Iterator[None]:
        """Fait travailler ses processus, le temps du bloc."""
        names = [f"{one.key}-{number}" for number in range(one.workers)]
        children = [self._child(one, database, name, one.worker) for name in names]
        try:
            for child in children:
                child.start()
            yield
        finally:
            for child in children:
                child.stop()

    def _child(self, one: Contestant, database: str, name: str, command: Sequence[str]) -> Child:
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.bench.register.settings",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.server.url(database),
            "BROKER_URL": self.broker.url if one.has_broker else "",
            "BENCH_APPS": ",".join(one.apps),
            "BENCH_JOBS": one.jobs,
            "BENCH_MISSES": str(self.misses),
            **one.env,
        }
        return Child("contestant", name, command, env, self.folder)
