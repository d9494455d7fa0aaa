"""Une base, un broker, des processus : de quoi exécuter le projet pour de vrai."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kombu import Connection

from .databases import ask_mariadb, ask_postgresql

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120.0  # seconds of an idle machine; nothing here is meant to take so long

SCRIPT = """
import django
django.setup()
from django.db import transaction
from src.share_kernel.infrastructure.event_bus import publish_event
from tests.services.shop.events import (
    Deadly, Doomed, Endless, Fragile, Limited, Marked, Sold, Unlucky)
from tests.services.shop.models import Effect
"""


def patience(seconds: float = DEADLINE) -> float:
    """Renvoie ce qu’il faut attendre ici et maintenant pour *seconds* d’une machine au repos."""
    load, _, _ = os.getloadavg()
    return seconds * max(1.0, load / (os.cpu_count() or 1))


def eventually(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Attend que *condition* soit vraie, et renvoie sa valeur."""
    start = time.monotonic()
    while not (value := condition()):
        limit = patience(deadline)
        assert time.monotonic() < start + limit, f"{what}: not in {limit:.0f} s"
        time.sleep(0.05)
    return value


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def new_queue() -> str:
    """Renvoie le nom d’une file où personne d’autre n’écrit."""
    return f"test-{uuid.uuid4().hex[:12]}"


@dataclass
class Worker:
    """Un vrai processus ``celery -A conf worker``."""

    process: subprocess.Popen[bytes]
    log_path: Path
    read_from: int = 0

    def mark(self) -> None:
        """Oublie ce qui est déjà écrit : ce qu’un autre test a provoqué ne prouve rien."""
        self.read_from = self.log_path.stat().st_size

    @property
    def log(self) -> str:
        """Ce que le worker a écrit depuis la marque."""
        return self.log_path.read_bytes()[self.read_from :].decode(errors="replace")

    def waits_for(self, text: str) -> None:
        eventually(lambda: text in self.log, f"{text!r} in the worker's log")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=patience(20))
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Tue le processus et ses enfants, sans prévenir."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Stack:
    """Les variables d’environnement d’une pile, et les processus qui les reçoivent."""

    name: str
    database_url: str
    broker_url: str
    folder: Path
    queue: str = field(default_factory=new_queue)
    extra_env: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.services.settings",
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.broker_url,
            "TEST_QUEUE": self.queue,
            "TEST_ATTEMPTS": str(self.folder / "attempts.txt"),
            "PYTHONPATH": str(self.root),
            **self.extra_env,
        }

    def migrate(self) -> None:
        self.manage("migrate", "--run-syncdb", "--verbosity=0")

    def manage(self, *args: str) -> str:
        return self._python(str(self.root / "manage.py"), *args)

    def run(self, code: str, **env: str) -> str:
        """Exécute *code* dans un processus du projet et renvoie ce qu’il affiche."""
        return self._python("-c", SCRIPT + textwrap.dedent(code), **env)

    def start(self, code: str) -> subprocess.Popen[str]:
        """Démarre *code* dans un processus du projet, à qui parler par ses flux."""
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT + textwrap.dedent(code)],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _python(self, *args: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *args],
            cwd=self.root,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=patience(),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def worker(self, concurrency: int = 1, **env: str) -> Iterator[Worker]:
        log_path = self.folder / f"worker-{uuid.uuid4().hex[:6]}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "conf", "worker",
                 f"--concurrency={concurrency}",
                 "--loglevel=INFO", f"--hostname={uuid.uuid4().hex}@%h"],
                cwd=self.root, env=self.env | env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        worker = Worker(process, log_path)
        try:
            worker.waits_for(" ready.")
            yield worker
        finally:
            worker.stop()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Interroge la base de la pile, depuis le test."""
        if self.database_url.startswith("sqlite"):
            path = self.database_url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(path)) as connection:
                return connection.execute(sql).fetchall()
        ask = ask_mariadb if self.database_url.startswith("mysql") else ask_postgresql
        return ask(self.database_url, sql)

    def queue_length(self) -> int:
        with Connection(self.broker_url) as connection:
            try:
                return int(connection.SimpleQueue(self.queue).qsize())
            except connection.channel_errors:  # Redis knows no empty queue
                return 0

    def delete_queue(self) -> None:
        with Connection(self.broker_url) as connection:
            connection.SimpleQueue(self.queue).queue.delete()

    def attempts(self, handler: str, label: str) -> int:
        path = self.folder / "attempts.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return lines.count(f"{handler} {label}")

    def until_it_hangs(self) -> int:
        """Attend qu’un handler se fige ; renvoie le numéro de son processus."""
        path = self.folder / "hanging.txt"
        eventually(path.exists, "a handler that hangs")
        number = int(path.read_text())
        path.unlink()
        return number

    def effects(self, label: str) -> list[str]:
        """Renvoie « handler pid » pour chaque effet de cette étiquette, dans l’ordre."""
        sql = f"SELECT handler, pid FROM shop_effect WHERE label = '{label}' ORDER BY id"
        return [f"{handler} {pid}" for handler, pid in self.query(sql)]

    def until_effects(self, label: str, count: int) -> list[str]:
        eventually(lambda: len(self.effects(label)) >= count, f"{count} effects of {label}")
        return self.effects(label)
