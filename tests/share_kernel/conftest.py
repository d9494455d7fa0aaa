import os
from collections.abc import Iterator

import pytest
from celery import current_app
from hypothesis import settings

from .mailbox import MEMORY, Mailbox

# More examples where nobody waits for them. No deadline: a machine may be busy.
_patient = os.environ.get("CI") or os.environ.get("REQUIRE_ALL") == "1"
settings.register_profile("share_kernel", deadline=None, max_examples=200 if _patient else 50)
settings.load_profile("share_kernel")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """Celery voit un broker en mémoire, que personne ne lit que le test."""
    mailbox = Mailbox()
    mailbox.use(MEMORY)
    mailbox.take()
    yield mailbox
    mailbox.use(None, broker_write_url=None, task_always_eager=False)
    assert current_app.conf.broker_url is None
