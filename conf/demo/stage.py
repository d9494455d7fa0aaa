"""La scène : un dossier temporaire, des processus, et leur récit que l’on affiche à mesure."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import journal, scenes
from .journal import Line
from .patience import Patience

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds without any progress
TICK = 0.02  # seconds between two looks
GRACE = 2.0  # seconds that a process has to stop politely; an idle Celery worker may take ten
MANAGE = [sys.executable, str(ROOT / "manage.py")]
CELERY = [
    sys.executable, "-m", "celery", "-A", "conf", "worker", "--pool=solo", "--loglevel=WARNING",
    "--without-gossip", "--without-mingle", "--without-heartbeat",
]  # fmt: skip

COLOURS = {"web": "36", "relay": "33", "worker": "35", "broker": "34"}
BOLD, DIM, RED, GREEN = "1", "2", "31", "32"
BAD = ("ROLLBACK", scenes.KILLED, scenes.STOPPED)


class DemoError(Exception):
    """La démonstration ne peut pas continuer ; le message dit pourquoi."""


@dataclass
class Stage:
    """Un dossier temporaire, et les processus qui y travaillent."""

    folder: Path
    broker_url: str
    queue: str
    patience: float = PATIENCE
    faults: bool = False
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    shown: int = 0
    steps: int = 0

    @property
    def journal(self) -> Path:
        """Le récit que tous écrivent."""
        return self.folder / "journal.jsonl"

    def env(self, process: str) -> dict[str, str]:
        """Renvoie l’environnement d’un processus : les réglages de la démonstration."""
        return {
            **os.environ,
            **({scenes.ENV_FAULTS: "1"} if self.faults else {}),
            "DJANGO_SETTINGS_MODULE": "conf.demo.settings",
            "DATABASE_URL": f"sqlite:///{self.folder / 'db.sqlite3'}",
            "BROKER_URL": self.broker_url,
            "OUTBOX": "1",
            "DEMO_QUEUE": self.queue,
            journal.ENV_PATH: str(self.journal),
            journal.ENV_PROCESS: process,
        }

    def manage(self, *args: str) -> str:
        """Exécute une commande d’administration jusqu’à son terme ; renvoie ce qu’elle écrit."""
        name, patience = args[0], Patience(self.patience)
        self.start(name, [*MANAGE, *args])
        while self.processes[name].poll() is None:
            self._expect(patience, self.log(name).stat().st_size)
        said = self.log(name).read_text(errors="replace")
        if self.processes.pop(name).returncode:
            raise DemoError(f"manage.py {name} failed:\n{said}")
        return said

    def start(self, name: str, command: list[str]) -> None:
        """Démarre un processus ; Ctrl-C ne va qu’à nous, qui l’arrêtons."""
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.env(name), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def log(self, name: str) -> Path:
        """Renvoie le fichier où va tout ce que ce processus écrit."""
        return self.folder / f"{name}.log"

    def tell(self, when: str, what: str, name: str) -> None:
        """Raconte ce qui arrive à un processus, qui ne le peut pas lui-même."""
        line = Line(time.time(), name, self.processes[name].pid, when, what)
        journal.append(self.journal, line)

    def kill(self, name: str) -> None:
        """Tue un processus sans l’avertir, comme ``kill -9``."""
        process = self.processes[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def follow(self, react: Callable[[Line], None] = lambda _: None) -> None:
        """Affiche le récit à mesure, jusqu’à la fin du processus « web ».

        Args:
            react: appelé après chaque ligne ; il peut tuer et remplacer des processus.
        """
        patience = Patience(self.patience)
        while True:
            status = self.processes["web"].poll()  # before reading: nothing comes after
            lines = journal.read(self.journal)
            for line in lines[self.shown :]:
                self._show(line)
                react(line)
            if status is not None:
                break
            for name, process in self.processes.items():
                if name != "web" and process.poll() is not None:
                    raise DemoError(f"The process {name!r} has stopped.{self._logs()}")
            # The same thing told again, as a wake-up that nobody hears, is no progress.
            self._expect(patience, len({(line.process, line.what) for line in lines}))
        if status:
            raise DemoError(f"The process 'web' has failed.{self._logs()}")

    def _expect(self, patience: Patience, progress: int) -> None:
        """Laisse passer un instant, ou renonce : rien n’avance plus."""
        if patience.is_over(progress):
            raise DemoError(f"Nothing has happened for {self.patience:g} s.{self._logs()}")
        time.sleep(TICK)

    def _show(self, line: Line) -> None:
        self.shown += 1
        if line.when == "step":
            self.steps += 1
            show(f"\n{paint(f'{self.steps}. {line.what}', BOLD)}")
            return
        moods = {"COMMIT": GREEN, "STARTED": GREEN, **dict.fromkeys(BAD, RED)}
        mood = RED if "FAILED" in line.what else moods.get(line.when, "")
        show(
            f"{line.at - self.began:6.2f} s  "
            f"{paint(f'{line.process:6} {line.pid:<7}', COLOURS[line.process])}  "
            f"{paint(f'{line.when:13}', mood)}  {paint(line.what, mood)}"
        )

    def _logs(self) -> str:
        tails = (
            f"\n--- {name}\n{self.log(name).read_text(errors='replace')[-2000:].strip()}"
            for name in self.processes
        )
        return "".join(tails)

    def end(self, name: str) -> None:
        """Arrête un processus, poliment puis non."""
        self._end([self.processes.pop(name)])

    def stop(self) -> None:
        """Arrête chaque processus."""
        self._end(list(self.processes.values()))

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        limit = time.monotonic() + GRACE
        for process in processes:
            try:
                process.wait(max(0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def stage(broker_url: str, *, faults: bool = False) -> Iterator[Stage]:
    """Ouvre un dossier temporaire ; à la sortie, rien ne reste, ni fichier ni processus."""
    queue = os.environ.get("DEMO_QUEUE") or f"demo-{uuid.uuid4().hex[:12]}"
    folder = Path(tempfile.mkdtemp(prefix="share-kernel-demo-"))
    opened = Stage(folder, broker_url, queue, faults=faults)
    try:
        yield opened
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave things behind
        opened.stop()
        if broker_url:  # somebody else’s
            delete_queue(opened)
        shutil.rmtree(opened.folder, ignore_errors=True)


def delete_queue(opened: Stage) -> None:
    """Efface du broker la file d’attente de cette démonstration, qui n’est qu’à elle."""
    from conf.celery import app

    with contextlib.suppress(Exception), app.connection_for_write() as connection:
        connection.SimpleQueue(opened.queue).queue.delete()


def show(text: str) -> None:
    """Écrit une ligne, tout de suite."""
    print(text, flush=True)


def paint(text: str, colour: str) -> str:
    """Colore *text*, si la sortie est un terminal."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{colour}m{text}\033[0m"
