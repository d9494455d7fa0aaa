"""Les processus d’une pile : démarrés, tués, ranimés."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conf.demo.patience import Patience

ROOT = Path(__file__).resolve().parents[2]
TICK = 0.1  # seconds between two looks at a condition
PATIENCE = 240.0  # seconds without any progress
GRACE = 10.0  # seconds to finish after SIGTERM


def eventually(
    condition: Callable[[], object],
    what: str,
    progress: Callable[[], int],
    seconds: float = PATIENCE,
) -> None:
    """Attend que *condition* soit vraie, aussi longtemps que *progress* croît.

    Raises:
        TimeoutError: rien n’avance plus depuis *seconds* secondes.
    """
    patience = Patience(seconds)
    while not condition():
        if patience.is_over(progress()):
            raise TimeoutError(f"{what}: nothing has moved for {seconds:g} s")
        time.sleep(TICK)


@dataclass
class Child:
    """Un programme et les siens, dans leur propre groupe : un même signal les atteint tous."""

    role: str
    name: str
    command: Sequence[str]
    env: dict[str, str]
    folder: Path
    surprises: list[str] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """Où vont ses deux sorties."""
        return self.folder / f"{self.name}.log"

    def said(self) -> int:
        """Renvoie combien d’octets il a écrits."""
        return self.log_path.stat().st_size

    def start(self) -> None:
        """Démarre le programme."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def finish(self) -> None:
        """Exécute le programme jusqu’à sa fin, qui doit être bonne."""
        self.start()
        assert self._process
        try:
            eventually(lambda: not self.runs(), f"the end of {self.name}", self.said)
        finally:
            self.kill()
        if self._process.returncode:
            said = self.log_path.read_text(errors="replace")
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{said}")

    def runs(self) -> bool:
        """Dit si le programme tourne."""
        return self._process is not None and self._process.poll() is None

    def revive(self) -> None:
        """Redémarre un programme mort, et retient une mort qui n’est pas un kill -9."""
        if self.runs():
            return
        if self._process is not None and self._process.returncode != -signal.SIGKILL:
            lines = self.log_path.read_text(errors="replace").splitlines()
            said = [line for line in lines if "Error" in line][-1:]
            self.surprises.append(f"{self.name} ended with {self._process.returncode}: {said}")
        self.start()

    def kill(self) -> None:
        """Tue tout le groupe, sans prévenir."""
        if self._process is not None:
            # The leader may be dead and others of its group alive.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Demande de finir, puis tue."""
        if self._process is not None and self.runs():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        self.kill()
