from collections.abc import Iterator

import pytest

from src.share_kernel import testing
from src.share_kernel.infrastructure import dispatch
from src.share_kernel.infrastructure.event_bus import EventBus

pytest_plugins = ["src.share_kernel.pytest_plugin"]


@pytest.fixture(autouse=True)
def _bus() -> Iterator[EventBus]:
    """Chaque test rend le bus comme il l’a trouvé."""
    with testing.isolated_bus() as bus:
        yield bus


@pytest.fixture
def outbox() -> None:
    """Branche le registre durable, que les réglages de test installent débranché."""
    from src.share_kernel.infrastructure.outbox import enrolment  # after django.setup()

    dispatch.enrol_with(enrolment.enrol)
