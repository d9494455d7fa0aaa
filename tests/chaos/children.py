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

ROOT = Path(__file__).resolve().parents[2]
TICK = 0.05  # seconds between two looks at a condition
GRACE = 10.0  # seconds to finish after SIGTERM


def eventually(condition: Callable[[], object], what: str, deadline: float) -> None:
    """Attend que *condition* soit vraie."""
    limit = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not in {deadline} s")
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

    def start(self) -> None:
        """Démarre le programme."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

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
