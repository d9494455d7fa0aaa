import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from django.db import transaction

from src.share_kernel.domain.domain_event import PermanentFailure, RetryAfter
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_async

from .events import Deadly, Doomed, Endless, Fragile, Limited, Marked, Sold, Unlucky
from .models import Effect


def count_attempt(handler: str, label: str) -> int:
    """Note un essai dans un fichier, que l’annulation d’une transaction n’efface pas."""
    line = f"{handler} {label}\n"
    path = Path(os.environ["TEST_ATTEMPTS"])
    with path.open("a") as file:
        file.write(line)
    return path.read_text().splitlines(keepends=True).count(line)


def leave_effect(
    handler: str, event: Sold | Marked | Deadly | Endless | Unlucky | Limited | Fragile
) -> None:
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


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    sys.exit("closing early")


def cancel() -> None:
    raise asyncio.CancelledError("no more paper")


def hang() -> None:
    path = Path(os.environ["TEST_ATTEMPTS"])
    path.with_name("hanging.tmp").write_text(str(os.getpid()))
    path.with_name("hanging.tmp").rename(path.with_name("hanging.txt"))
    time.sleep(600)


def fail_after_commit() -> None:
    transaction.on_commit(cancel)


def leave_after_commit() -> None:
    transaction.on_commit(leave)


def meet(handler: str, event: Unlucky | Limited) -> None:
    """Fait ce que dit l’événement, puis laisse un effet s’il reste quelqu’un pour cela."""
    faults: list[Callable[[], None]] = [
        kill, leave, cancel, hang, fail_after_commit, leave_after_commit
    ]  # fmt: skip
    if count_attempt(handler, event.label) <= event.times:
        {fault.__name__: fault for fault in faults}[event.how]()
    leave_effect(handler, event)


@subscribe_async(Unlucky)
def unlucky(event: Unlucky) -> None:
    meet("unlucky", event)


@subscribe_async(Limited, max_attempts=1)
def once(event: Limited) -> None:
    meet("once", event)


@subscribe_async(Limited, max_attempts=2)
def twice(event: Limited) -> None:
    meet("twice", event)


@subscribe_async(Limited, max_attempts=3)
def thrice(event: Limited) -> None:
    meet("thrice", event)


@subscribe_async(Fragile, max_attempts=1)
def breaks(event: Fragile) -> None:
    leave_effect("breaks", event)
