"""La tourmente sur une pile : produire, casser, réparer, vider, comparer."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from . import databases
from .brokers import Broker, RabbitMQ, Redis, running
from .checking import Findings, compare
from .children import PATIENCE, ROOT, TICK, Child, eventually

CALM = (0.2, 1.2)  # seconds between two faults
OUTAGE = (0.2, 2.0)  # seconds that a broker stays dead
ROLES = ("publisher", "worker", "relay", "broker")
WEIGHTS = (2, 2, 2, 1)
# Shares of the queries around which a process kills itself, besides the faults that are counted.
FATAL_QUERIES = {"publisher": 1 / 50, "worker": 1 / 250, "relay": 1 / 250}


@dataclass(frozen=True)
class Recipe:
    """De quoi une pile est faite."""

    name: str
    database: Callable[[Path], AbstractContextManager[str]]
    broker: type[Redis | RabbitMQ] | None = None


RECIPES = (
    Recipe("sqlite", databases.sqlite),
    Recipe("postgresql+redis", databases.postgresql, Redis),
    Recipe("postgresql+rabbitmq", databases.postgresql, RabbitMQ),
    Recipe("mariadb+redis", databases.mariadb, Redis),
)


@dataclass(frozen=True)
class Result:
    """Ce qu’une pile a subi, et ce qui en reste."""

    name: str
    seconds: float
    faults: dict[str, int]
    surprises: list[str]
    findings: Findings


def run(recipe: Recipe, folder: Path, *, seed: int, seconds: float, durable: bool = True) -> Result:
    """Tourmente une pile pendant *seconds* secondes, puis la répare et compare les ensembles.

    Args:
        recipe: la pile.
        folder: un dossier vide : base, journaux, données du broker.
        seed: décide des pannes et de leurs moments ; le reste appartient au système.
        seconds: la durée des pannes.
        durable: avec le registre, ou par le chemin léger.

    Raises:
        MissingError: un programme ou un service manque.
        TimeoutError: la pile ne démarre pas, ou le broker ne revient pas.
    """
    started = time.monotonic()
    with recipe.database(folder) as url, running(recipe.broker, folder) as broker:
        storm = Storm(url, broker, folder, random.Random(f"{seed} {recipe.name}"), durable)
        try:
            storm.begin()
            storm.rage(seconds)
            storm.heal()
            storm.drain()
        finally:
            storm.end()
        return Result(
            name=recipe.name,
            seconds=round(time.monotonic() - started, 1),
            faults={role: storm.faults[role] for role in ROLES},
            surprises=[text for child in storm.children for text in child.surprises],
            findings=storm.findings(),
        )


@dataclass
class Storm:
    """Les processus d’une pile, et ce qui leur arrive."""

    url: str
    broker: Broker | None
    folder: Path
    rng: random.Random
    durable: bool = True
    patience: float = PATIENCE
    children: list[Child] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    _broker_returns: float = 0.0

    @property
    def rolled_back(self) -> Path:
        """Où ceux qui publient notent ce dont rien ne doit rester."""
        return self.folder / "rolled-back.txt"

    @property
    def starts(self) -> Path:
        """Où les handlers qui ont une clé notent leurs départs."""
        return self.folder / "starts.txt"

    @property
    def env(self) -> dict[str, str]:
        """Les variables qui choisissent la pile."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "DATABASE_URL": self.url,
            "BROKER_URL": self.broker.url if self.broker else "",
            "OUTBOX": "1" if self.durable else "0",
            "CHAOS_ROLLED_BACK": str(self.rolled_back),
            "CHAOS_STARTS": str(self.starts),
            "PYTHONPATH": str(ROOT),
        }

    def begin(self) -> None:
        """Démarre tout et attend un premier effet : avant, rien ne peut se perdre."""
        migrate = [sys.executable, "manage.py", "migrate", "--run-syncdb"]
        Child("migrate", "migrate", migrate, self.env, self.folder).finish()
        if self.broker:
            eventually(self.broker.answers, "the broker answers", self.broker.child.said)
        self.children += self._children()
        for child in self.children:
            child.start()
        self.wait_for(lambda: self._count("chaos_effect"), "a first effect")

    def rage(self, seconds: float) -> None:
        """Inflige une panne après l’autre."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._strike()
            calm = time.monotonic() + self.rng.uniform(*CALM)
            while time.monotonic() < calm:
                self._revive()
                time.sleep(TICK)

    def heal(self) -> None:
        """Répare tout ; plus personne ne publie."""
        self.retire("publisher")
        self._broker_returns = 0.0
        self._revive()
        if self.broker:
            eventually(self.broker.answers, "the broker is back", self.broker.child.said)

    def drain(self) -> None:
        """Attend que plus rien ne soit en attente, ou que plus rien n’avance."""
        if self.durable:
            with contextlib.suppress(TimeoutError):  # what is still pending will be found late
                self.wait_for(lambda: self._count(PENDING) == 0, "nothing is pending")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Attend, en ranimant les morts, tant que des livraisons avancent."""

        def holds() -> object:
            self._revive()
            return condition()

        eventually(holds, what, self._progress, self.patience)

    def retire(self, role: str) -> None:
        """Arrête ceux qui tiennent ce rôle ; ils ne seront plus ranimés."""
        for child in self._of(role):
            child.stop()
            self.children.remove(child)

    def end(self) -> None:
        """Ne laisse rien tourner."""
        for child in self.children:
            child.kill()

    def findings(self) -> Findings:
        """Lit les ensembles et les compare."""
        starts = [line.split() for line in lines_of(self.starts)]
        deliveries = self._rows(f"event_id, handler, state FROM {REGISTER}") if self.durable else []
        return compare(
            orders=[_hex(event) for (event,) in self._rows("event_id FROM chaos_order")],
            deliveries=[(_hex(event), handler, state) for event, handler, state in deliveries],
            effects=[
                (_hex(event), handler)
                for event, handler in self._rows("event_id, handler FROM chaos_effect")
            ],
            rolled_back={_hex(text) for text in lines_of(self.rolled_back)},
            starts=[(_hex(event), handler, key, int(rank)) for event, handler, key, rank in starts],
            durable=self.durable,
        )

    def _strike(self) -> None:
        roles = [role for role in ROLES if self._can_strike(role)]
        weights = [WEIGHTS[ROLES.index(role)] for role in roles]
        (role,) = self.rng.choices(roles, weights)
        self.faults[role] += 1
        if role != "broker":
            self.rng.choice(self._of(role)).kill()
            return
        assert self.broker
        if self.rng.random() < 0.5:
            self.broker.kill()
            self._broker_returns = time.monotonic() + self.rng.uniform(*OUTAGE)
        else:
            self.broker.empty()

    def _can_strike(self, role: str) -> bool:
        if role == "broker":
            return self.broker is not None and self.broker.answers()
        return bool(self._of(role))

    def _revive(self) -> None:
        for child in self.children:
            child.revive()
        if self.broker and not self.broker.runs() and time.monotonic() >= self._broker_returns:
            self.broker.start()

    def _progress(self) -> int:
        """Compte ce qui est inscrit, tenté et soldé : cela croît, et a une fin."""
        source = f"{MOVES} FROM {REGISTER}" if self.durable else "count(*) FROM chaos_effect"
        ((moves,),) = self._rows(source)
        return int(moves)

    def _count(self, source: str) -> int:
        ((count,),) = self._rows(f"count(*) FROM {source}")
        return int(count)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return databases.rows(self.url, f"SELECT {query}")

    def _of(self, role: str) -> list[Child]:
        return [child for child in self.children if child.role == role]

    def _children(self) -> Iterator[Child]:
        manage = [sys.executable, "manage.py"]
        relay = [*manage, "relay_events", *([] if self.broker else ["--execute"])]
        for number in (1, 2):
            yield self._child("publisher", number, [*manage, "publish_orders"])
            if self.broker:
                yield self._child("worker", number, [*WORKER, f"--hostname=chaos{number}@%h"])
            if self.durable:
                yield self._child("relay", number, relay)

    def _child(self, role: str, number: int, command: list[str]) -> Child:
        env = self.env | {"CHAOS_FATAL_QUERIES": str(FATAL_QUERIES[role])}
        return Child(role, f"{role}-{number}", command, env, self.folder)


REGISTER = "share_kernel_outbox_delivery"
MOVES = "coalesce(sum(attempts + CASE WHEN state = 'pending' THEN 1 ELSE 2 END), 0)"
PENDING = f"{REGISTER} WHERE state = 'pending'"
WORKER = [
    sys.executable, "-m", "celery", "-A", "conf", "worker", "--concurrency=2", "--loglevel=INFO",
    "--without-mingle", "--without-gossip",  # they wait a second for workers that are dead
]  # fmt: skip


def lines_of(path: Path) -> list[str]:
    """Lit ce que des processus ont noté, s’il y en a."""
    return path.read_text().splitlines() if path.exists() else []


def _hex(value: object) -> str:
    """Les bases n’écrivent pas un UUID de la même façon."""
    return UUID(str(value)).hex
