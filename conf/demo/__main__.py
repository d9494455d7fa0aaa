"""Lance les processus de la démonstration, affiche leur récit à mesure, range tout.

Sans ``BROKER_URL`` : le web et le relais, aucun serveur. Avec : le web, un worker Celery et
le relais.
"""

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import journal
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

COLOURS = {"web": "36", "relay": "33", "worker": "35"}
BOLD, DIM, RED, GREEN = "1", "2", "31", "32"


class DemoError(Exception):
    """La démonstration ne peut pas continuer ; le message dit pourquoi."""


@dataclass
class Stage:
    """Un dossier temporaire, et les processus qui y travaillent."""

    folder: Path
    broker_url: str
    queue: str
    patience: float = PATIENCE
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

    def follow(self) -> None:
        """Affiche le récit à mesure, jusqu’à la fin du processus « web »."""
        patience = Patience(self.patience)
        while True:
            status = self.processes["web"].poll()  # before reading: nothing comes after
            lines = journal.read(self.journal)
            for line in lines[self.shown :]:
                self._show(line)
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
        moods = {"COMMIT": GREEN, "ROLLBACK": RED}
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

    def stop(self) -> None:
        """Arrête chaque processus, poliment puis non."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        limit = time.monotonic() + GRACE
        for process in self.processes.values():
            try:
                process.wait(max(0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def stage(broker_url: str) -> Iterator[Stage]:
    """Ouvre un dossier temporaire ; à la sortie, rien ne reste, ni fichier ni processus."""
    queue = os.environ.get("DEMO_QUEUE") or f"demo-{uuid.uuid4().hex[:12]}"
    opened = Stage(Path(tempfile.mkdtemp(prefix="share-kernel-demo-")), broker_url, queue)
    try:
        yield opened
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave things behind
        opened.stop()
        if "worker" in opened.processes:
            delete_queue(opened)
        shutil.rmtree(opened.folder, ignore_errors=True)


def delete_queue(opened: Stage) -> None:
    """Efface du broker la file d’attente de cette démonstration, qui n’est qu’à elle."""
    from conf.celery import app

    with contextlib.suppress(Exception), app.connection_for_write() as connection:
        connection.SimpleQueue(opened.queue).queue.delete()


def check_broker() -> None:
    """Refuse de commencer sans le broker annoncé.

    Raises:
        DemoError: il ne répond pas.
    """
    from conf.celery import app

    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=10)
        except Exception as error:
            raise DemoError(
                f"No broker answers at {connection.as_uri()} (BROKER_URL): {error}\n"
                "Start it, or unset BROKER_URL: the demo needs no server."
            ) from None


def play(opened: Stage) -> None:
    """Joue la démonstration d’un bout à l’autre."""
    opened.journal.touch()
    opened.manage("migrate")
    if opened.broker_url:
        opened.start("worker", CELERY)
        opened.start("relay", [*MANAGE, "relay_events"])
    else:
        opened.start("relay", [*MANAGE, "relay_events", "--execute"])
    opened.start("web", [sys.executable, "-m", "conf.demo.story"])
    introduce(opened)
    opened.follow()
    conclude(opened)


def introduce(opened: Stage) -> None:
    """Présente les processus."""
    roles = {"web": "calls services; sync handlers run here, before its commit"}
    if opened.broker_url:
        show(paint("The event bus with a Celery worker.", BOLD))
        roles["worker"] = "celery -A conf worker: async handlers run here, after that commit"
        roles["relay"] = "manage.py relay_events: wakes the worker again when a delivery is due"
    else:
        show(paint("The event bus without any server: two processes and one SQLite file.", BOLD))
        roles["relay"] = (
            "manage.py relay_events --execute: async handlers run here, after that commit"
        )
    for name, role in roles.items():
        who = paint(f"{name:6} {opened.processes[name].pid:<7}", COLOURS[name])
        show(f"  {who}  {role}")


def conclude(opened: Stage) -> None:
    """Montre le registre, et où lire la suite."""
    show(f"\n{paint('The register of deliveries, at the end', BOLD)}")
    show(paint("$ python manage.py events_status", DIM))
    show(opened.manage("events_status").rstrip())
    show(f"\n{paint('Read on', BOLD)}")
    show("  conf/demo/story.py                  what the web process did")
    show("  conf/demo/handlers.py               the handler that failed twice")
    show("  docs/tutoriel/avec-un-worker.md     the same, step by step, in your project")
    show("  make serve                          the whole site, in French and English")
    if not opened.broker_url:
        show("  BROKER_URL=redis://127.0.0.1:6379/0 make demo    the same with a Celery worker")


def show(text: str) -> None:
    """Écrit une ligne, tout de suite."""
    print(text, flush=True)


def paint(text: str, colour: str) -> str:
    """Colore *text*, si la sortie est un terminal."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{colour}m{text}\033[0m"


def main() -> int:
    """Renvoie le code de sortie : 0, 1 après une erreur, 130 après une interruption."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # like Ctrl-C: leave by tidying up
    broker_url = os.environ.get("BROKER_URL", "")
    try:
        if broker_url:
            check_broker()
        with stage(broker_url) as opened:
            play(opened)
    except KeyboardInterrupt:
        show("\nInterrupted; nothing is left behind.")
        return 130
    except BrokenPipeError:  # nobody reads any more, as after `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
