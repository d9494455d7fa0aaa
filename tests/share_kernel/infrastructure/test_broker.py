"""Ce qu’un envoi manqué dit du broker, ou du message."""

import pytest
from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError

from src.share_kernel.infrastructure import broker


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.breaker, "tripped_at", float("-inf"))


def test_the_last_failure_decides_between_the_message_and_the_broker() -> None:
    refused, misrouted = OperationalError("refused"), QueueNotFound("tpyo")

    assert broker.blame([refused, misrouted], "it", "tpyo") is misrouted
    assert not broker.breaker.is_open(0)
    assert broker.blame([misrouted, refused], "it", "tpyo") is None
    assert broker.breaker.is_open(0)
