"""Un broker en mémoire : Celery est configuré, rien ne consomme, et l’on relève le courrier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import current_app

QUEUE = "celery"
MEMORY = "memory://localhost"
REFUSED = "redis://127.0.0.1:1/0"  # nobody listens on this port


@dataclass(frozen=True)
class Letter:
    """Un message, tel qu’un worker le recevrait."""

    task: str
    args: list[Any]
    headers: dict[str, Any]

    def run(self, **options: Any) -> str:
        """Fait ce que ferait un worker, ici et sans lui ; renvoie l’état où finit la tâche."""
        return str(self.outcome(**options).state)

    def outcome(self, **options: Any) -> Any:
        """Comme :meth:`run` ; renvoie le résultat de Celery."""
        kept = {name: self.headers[name] for name in ("retries", "task_id") if name in self.headers}
        known: dict[str, Any] = {"headers": dict(self.headers), "routing_key": QUEUE}
        task: Any = current_app.tasks[self.task]
        return task.apply(args=self.args, **(kept | known | options))


class Mailbox:
    """Le broker que Celery voit, et ses files."""

    def use(self, url: str | None, **changes: Any) -> None:
        """Change l’adresse du broker, et d’autres réglages de Celery."""
        current_app.conf.update(broker_url=url, **changes)
        current_app._after_fork()  # type: ignore[attr-defined]  # forget the former connections

    def take(self, queue: str = QUEUE) -> list[Letter]:
        """Prend tout ce qui attend dans une file du broker en mémoire."""
        letters = []
        with current_app.connection_for_read(url=MEMORY) as connection:
            channel: Any = connection.default_channel
            channel.queue_declare(queue)
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                args = message.payload[0]
                letters.append(Letter(message.headers["task"], args, message.headers))
        return letters
