"""Les pannes de ``--faults`` : tuer un worker, arrêter un Redis à soi, et les remplacer."""

from __future__ import annotations

import shutil
import socket
import sys

from . import scenes
from .journal import Line
from .stage import BOLD, CELERY, MANAGE, Stage, paint, show

LOCALHOST = "127.0.0.1"
REDIS = shutil.which("redis-server")
EXECUTING = [*MANAGE, "relay_events", "--execute"]


def play(opened: Stage) -> None:
    """Joue les scènes sans serveur, puis celle du broker si Redis est installé."""
    show(paint("The event bus when things fail: a web process, and a worker that we kill.", BOLD))
    opened.journal.touch()
    opened.manage("migrate")
    opened.start("worker", EXECUTING)
    _play(opened, "commit", "rollback", "worker")
    opened.end("worker")
    if REDIS is None:
        show("\nredis-server is not installed: the scene of the broker is skipped.")
        return
    opened.broker_url = f"redis://{LOCALHOST}:{_free_port()}/0"
    _play(opened, "broker")


def _play(opened: Stage, *names: str) -> None:
    opened.start("web", [sys.executable, "-m", "conf.demo.scenes", *names])
    opened.follow(lambda line: _react(opened, line))


def _react(opened: Stage, line: Line) -> None:
    """Cause chaque panne quand son moment est venu, puis la répare."""
    if line.what.endswith(scenes.HELD):
        opened.kill("worker")
        opened.tell(scenes.KILLED, "the worker, in the middle of that transaction", "worker")
        opened.start("worker", EXECUTING)
        opened.tell(scenes.STARTED, "another worker", "worker")
    elif line.what == scenes.TITLES["broker"]:
        _start_redis(opened)
        opened.start("worker", CELERY)
        opened.start("relay", [*MANAGE, "relay_events"])
    elif line.what == scenes.LISTENS:
        opened.kill("broker")
        opened.tell(scenes.STOPPED, "Redis, the broker", "broker")
        del opened.processes["broker"]
    elif line.what == scenes.WAITS:
        _start_redis(opened)
        opened.tell(scenes.STARTED, "Redis, empty", "broker")


def _start_redis(opened: Stage) -> None:
    port = opened.broker_url.rpartition(":")[2].partition("/")[0]
    command = [str(REDIS), "--bind", LOCALHOST, "--port", port, "--dir", str(opened.folder)]
    opened.start("broker", [*command, "--save", "", "--appendonly", "no"])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        return int(listener.getsockname()[1])
