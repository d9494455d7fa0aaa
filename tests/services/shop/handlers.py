import os
import signal
from pathlib import Path

from src.share_kernel.domain.domain_event import PermanentFailure, RetryAfter
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async

from .events import Deadly, Doomed, Endless, Marked, Sold
from .models import Effect


def count_attempt(handler: str, label: str) -> int:
    """Note un essai dans un fichier, que l’annulation d’une transaction n’efface pas."""
    line = f"{handler} {label}\n"
    path = Path(os.environ["TEST_ATTEMPTS"])
    with path.open("a") as file:
        file.write(line)
    return path.read_text().splitlines(keepends=True).count(line)


def leave_effect(handler: str, event: Sold | Marked | Deadly | Endless) -> None:
    Effect.objects.create(
        handler=handler,
        label=event.label,
        event_id=event.event_id,
        correlation_id=event.correlation_id,
        pid=os.getpid(),
    )


@subscribe_async(Sold)
def first(event: Sold) -> None:
    count_attempt("first", event.label)
    leave_effect("first", event)


@subscribe_async(Sold)
def flaky(event: Sold) -> None:
    leave_effect("flaky", event)  # rolled back by a failure
    if count_attempt("flaky", event.label) <= 2:
        raise RetryAfter(0.2, "the printer is warming up")


@subscribe_async(Sold)
async def third(event: Sold) -> None:
    count_attempt("third", event.label)
    await Effect.objects.acreate(
        handler="third",
        label=event.label,
        event_id=event.event_id,
        correlation_id=event.correlation_id,
        pid=os.getpid(),
    )


@subscribe_async(Marked)
def mark(event: Marked) -> None:
    leave_effect("mark", event)


@subscribe_async(Doomed, max_attempts=2)
def always_fails(event: Doomed) -> None:
    count_attempt("always_fails", event.label)
    raise RetryAfter(0.1, "no paper left")


@subscribe_async(Doomed)
def refuses(event: Doomed) -> None:
    count_attempt("refuses", event.label)
    raise PermanentFailure("this customer has left")


@subscribe_async(Doomed)
def patient(event: Doomed) -> None:
    count_attempt("patient", event.label)
    raise RetryAfter(3600, "closed for lunch")


@subscribe_async(Deadly)
def dies(event: Deadly) -> None:
    if count_attempt("dies", event.label) == 1 or event.always:
        os.kill(os.getpid(), signal.SIGKILL)
    leave_effect("dies", event)


@subscribe_async(Endless)
def publishes_again(event: Endless) -> None:
    leave_effect("publishes_again", event)
    publish_event(Endless(label=event.label))
