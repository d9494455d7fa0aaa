"""Les aides de :mod:`.testing` en fixtures pytest de mêmes noms.

À déclarer dans le ``conftest.py`` de la racine :
``pytest_plugins = ["src.share_kernel.pytest_plugin"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from . import testing
from .domain.domain_event import DomainEvent
from .infrastructure.event_bus import EventBus


@pytest.fixture
def isolated_bus() -> Iterator[EventBus]:
    """Le bus global, rendu à son état d’avant à la fin du test."""
    with testing.isolated_bus() as bus:
        yield bus


@pytest.fixture
def record_events() -> Iterator[list[DomainEvent]]:
    """La liste des événements publiés pendant le test."""
    with testing.record_events() as events:
        yield events


@pytest.fixture
def deliver_pending() -> Callable[..., list[str]]:
    """La fonction qui livre ce qui attend le commit du test."""
    return testing.deliver_pending
