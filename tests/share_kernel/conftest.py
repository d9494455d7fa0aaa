import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery import Celery, current_app
from django.contrib.auth.management import create_permissions
from django.contrib.contenttypes.management import create_contenttypes
from django.db.models.signals import post_migrate
from hypothesis import settings

from src.share_kernel.testing import isolated_bus

from .idle_loops import close_idle_loops
from .mailbox import MEMORY, Mailbox

# More examples where nobody waits for them. No deadline: a machine may be busy.
_patient = os.environ.get("CI") or os.environ.get("REQUIRE_ALL") == "1"
settings.register_profile("share_kernel", deadline=None, max_examples=200 if _patient else 50)
settings.load_profile("share_kernel")


@dataclass
class MemoryBroker:
    """Une application Celery dont le broker est en mémoire, et de quoi lire ses files."""

    app: Celery
    channel: Any

    def take(self, queue: str = "celery") -> list[Any]:
        """Vide une file et renvoie ses messages."""
        messages = []
        while (message := self.channel.basic_get(queue, no_ack=True)) is not None:
            messages.append(message)
        return messages

    def run(self, task: str, *args: Any, **options: Any) -> str:
        """Exécute une tâche comme un worker, ici ; renvoie l’état dans lequel elle finit."""
        result: Any = self.app.tasks[f"share_kernel.{task}"].apply(args=args, **options)
        return str(result.state)


@pytest.fixture
def memory_broker() -> Iterator[MemoryBroker]:
    before: Any = current_app
    before = before._get_current_object()
    app = Celery("tests.memory", set_as_current=False)
    app.conf.update(broker_url="memory://localhost")
    app.set_current()
    with app.connection_for_read() as connection:
        broker = MemoryBroker(app, connection.default_channel)
        broker.channel.state.clear()
        for queue in list(broker.channel.queues):
            broker.channel.queue_purge(queue)
        with isolated_bus(celery=True):
            yield broker
    before.set_current()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Celery voit un broker en mémoire, que personne ne lit que le test."""
    mailbox = Mailbox()
    mailbox.use(MEMORY)
    mailbox.take()
    with isolated_bus(celery=True):
        yield mailbox
    mailbox.use(None, broker_write_url=None, task_always_eager=False)
    assert current_app.conf.broker_url is None


@pytest.fixture(autouse=True)
def _idle_loops() -> Iterator[None]:
    yield
    close_idle_loops()


@pytest.fixture(scope="package", autouse=True)
def _no_permissions(django_db_setup: None) -> Iterator[None]:
    """Vider la base après un test recréait des droits que personne ne lit : la moitié du temps."""
    uid = "django.contrib.auth.management.create_permissions"
    post_migrate.disconnect(dispatch_uid=uid)
    post_migrate.disconnect(create_contenttypes)
    yield
    post_migrate.connect(create_permissions, dispatch_uid=uid)
    post_migrate.connect(create_contenttypes)
