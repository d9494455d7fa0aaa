import pickle
from typing import Any

import pytest

from src.share_kernel.domain.domain_event import PermanentFailure, RetryAfter
from src.share_kernel.infrastructure import handling
from src.share_kernel.infrastructure.event_bus import subscribe_async
from src.share_kernel.infrastructure.subscriptions import LONGEST
from tests.share_kernel.events import OrderPlaced


def test_the_delay_grows_and_is_spread_over_its_whole_range() -> None:
    for attempt in (1, 3, 5):
        limit = handling.BACKOFF_BASE * 2 ** (attempt - 1)
        delays = [handling.delay_after(ValueError(), attempt, 8) or 0 for _ in range(2000)]
        assert 0 <= min(delays) < limit / 10
        assert limit * 0.9 < max(delays) <= limit


def test_the_delay_is_bounded() -> None:
    delays = [handling.delay_after(ValueError(), 50, 100) or 0 for _ in range(2000)]
    assert handling.BACKOFF_MAX * 0.9 < max(delays) <= handling.BACKOFF_MAX


def test_a_deployment_is_looked_for_every_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: (low + high) / 2)

    assert handling.delay_after_skew(1) == 600


def test_the_last_attempt_gives_up() -> None:
    assert handling.delay_after(ValueError(), 7, 8) is not None
    assert handling.delay_after(ValueError(), 8, 8) is None


def test_a_permanent_failure_gives_up_at_once() -> None:
    assert handling.delay_after(PermanentFailure(), 1, 8) is None


def test_retry_after_chooses_the_delay_and_still_counts() -> None:
    assert handling.delay_after(RetryAfter(42), 1, 8) == 42
    assert handling.delay_after(RetryAfter(42), 8, 8) is None


def test_retry_after_is_bounded_by_what_a_database_can_write() -> None:
    assert handling.delay_after(RetryAfter(1e300), 1, 8) == LONGEST


def test_a_retry_after_that_forgot_its_seconds_is_tried_again_at_once() -> None:
    class Careless(RetryAfter):
        def __init__(self) -> None: ...

    assert handling.delay_after(Careless(), 1, 8) == 0


@pytest.mark.parametrize(
    ("seconds", "delay"),
    [
        ("12", 12),
        (-5, 0),
        (float("inf"), LONGEST),
        (float("nan"), 0),
    ],
)
def test_whatever_a_subclass_of_retry_after_sets_is_read_as_a_delay(
    seconds: Any, delay: float
) -> None:
    error = RetryAfter(1)
    error.seconds = seconds
    assert handling.delay_after(error, 1, 8) == delay


@pytest.mark.parametrize("seconds", [None, "tomorrow", 10**400, b"-"])
def test_a_retry_after_that_is_no_number_backs_off_like_another_failure(seconds: Any) -> None:
    error = RetryAfter(1)
    error.seconds = seconds
    delay = handling.delay_after(error, 1, 8)
    assert delay is not None
    assert 0 <= delay <= handling.BACKOFF_BASE


def test_a_deployment_is_waited_for_about_a_day() -> None:
    total, attempt = 0.0, 1
    while (delay := handling.delay_after_skew(attempt)) is not None:
        assert 60 < delay < 15 * 60
        total, attempt = total + delay, attempt + 1
    assert total == pytest.approx(24 * 3600, rel=0.1)


def test_the_error_of_a_lost_process_goes_from_a_process_to_another() -> None:
    """Celery la sérialise entre un enfant et son parent."""
    subscribe_async(OrderPlaced, print, name="h", max_attempts=2)

    error = handling.attempt(OrderPlaced().to_dict(), "h", 0, "default", attempts=3).error

    assert isinstance(error, handling.TooManyAttemptsError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error) != ""
    assert "attempt 3 is more than the 2 allowed" in str(error)
