"""Ce que fait un handler un jour ordinaire : se taire, ne pas s’exécuter, mal finir."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from django.db import IntegrityError, OperationalError, connection, transaction

from src.module.tenant.models import Tenant
from src.share_kernel.domain.domain_event import DomainEvent, register_event

from .idle_loops import idle_loop

Handler = Callable[[Any], object]


def write(slug: str = "written") -> None:
    Tenant.objects.create(slug=slug, schema_name=slug)


# What Django undoes without a word: the transaction is marked for rollback, the handler returns.


def swallows_an_integrity_error(event: DomainEvent) -> None:
    write()
    with suppress(IntegrityError):
        write()


def swallows_an_error_of_bulk_create(event: DomainEvent) -> None:
    write()
    with suppress(IntegrityError):
        Tenant.objects.bulk_create([Tenant(slug="written", schema_name="written")])


def swallows_in_an_atomic_without_savepoint(event: DomainEvent) -> None:
    write()
    try:
        with transaction.atomic(savepoint=False):
            raise ValueError("not worth a word")
    except ValueError:
        pass


def marks_the_transaction(event: DomainEvent) -> None:
    write()
    transaction.set_rollback(True)


async def swallows_in_a_coroutine(event: DomainEvent) -> None:
    await Tenant.objects.acreate(slug="written", schema_name="written")
    with suppress(IntegrityError):
        await Tenant.objects.acreate(slug="written", schema_name="other")


UNDONE: list[Handler] = [
    swallows_an_integrity_error,
    swallows_an_error_of_bulk_create,
    swallows_in_an_atomic_without_savepoint,
    marks_the_transaction,
]


# What looks like those, and is sound.


def expects_the_error_in_a_savepoint(event: DomainEvent) -> None:
    write()
    try:
        with transaction.atomic():
            write()
    except IntegrityError:
        pass


def gives_a_savepoint_up(event: DomainEvent) -> None:
    write()
    with transaction.atomic():
        write("given-up")
        transaction.set_rollback(True)


def gets_or_creates(event: DomainEvent) -> None:
    for _ in range(2):
        Tenant.objects.get_or_create(slug="written", defaults={"schema_name": "written"})


SOUND: list[Handler] = [expects_the_error_in_a_savepoint, gives_a_savepoint_up, gets_or_creates]


# What leaves a transaction open: nothing more would be committed on that connection.


def never_leaves_an_atomic(event: DomainEvent) -> None:
    transaction.atomic().__enter__()
    write()


def never_leaves_two_and_fails(event: DomainEvent) -> None:
    never_leaves_an_atomic(event)
    transaction.atomic().__enter__()
    raise ValueError("no paper left")


def never_leaves_an_atomic_in_a_callback(event: DomainEvent) -> None:
    transaction.on_commit(lambda: never_leaves_an_atomic(event))


def turns_autocommit_off(event: DomainEvent) -> None:
    transaction.set_autocommit(False)
    write()


def begins_in_sql(event: DomainEvent) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    write()


LEFT_OPEN: list[Handler] = [never_leaves_an_atomic, never_leaves_two_and_fails]
LEFT_OPEN_IN_SYNC: list[Handler] = [*LEFT_OPEN, turns_autocommit_off]  # without a transaction
LEFT_OPEN_ALONE: list[Handler] = [*LEFT_OPEN_IN_SYNC, begins_in_sql]  # with atomic=False


# What a handler returns without having run. Each takes what to do when it does run.

Work = Callable[[], None]


def logged(function: Handler) -> Handler:
    """Un décorateur comme on en écrit, qui cache que la fonction est une coroutine."""

    @functools.wraps(function)
    def wrapper(event: DomainEvent) -> object:
        return function(event)

    return wrapper


def coroutine(work: Work) -> Callable[[DomainEvent], Coroutine[Any, Any, None]]:
    async def handler(event: DomainEvent) -> None:
        await asyncio.sleep(0)
        work()

    return handler


def partial_of_a_coroutine(work: Work) -> Handler:
    async def handler(text: str, event: DomainEvent) -> None:
        work()

    return functools.partial(handler, "text")


class Later:
    """Un objet qui s’attend, sans être une coroutine."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(0).__await__()
        self.work()


class Client(Later):
    """Un client, un groupe de connexions : l’attendre l’ouvre, et le rend lui-même."""

    def __await__(self) -> Generator[Any, None, Any]:
        yield from super().__await__()
        return self


async def _in_a_task(work: Work) -> "asyncio.Task[None]":
    async def run() -> None:
        await asyncio.sleep(0)
        work()

    return asyncio.create_task(run())


def task_of_a_coroutine(work: Work) -> Handler:
    async def handler(event: DomainEvent) -> object:
        return await _in_a_task(work)

    return handler


AWAITED: dict[str, Callable[[Work], Handler]] = {
    "a coroutine behind a decorator": lambda work: logged(coroutine(work)),
    "a coroutine behind two": lambda work: logged(logged(coroutine(work))),
    "a partial of a coroutine function": partial_of_a_coroutine,
    "a decorated partial": lambda work: logged(partial_of_a_coroutine(work)),
    "an object that can be awaited": lambda work: lambda event: Later(work),
    "a client that returns itself": lambda work: lambda event: Client(work),
    "a coroutine that returns an awaitable": task_of_a_coroutine,
    "a coroutine that returns a coroutine": lambda work: coroutine_of(coroutine(work)),
}


def coroutine_of(function: Handler) -> Handler:
    async def handler(event: DomainEvent) -> object:
        return function(event)

    return handler


def _generator(work: Work) -> Iterator[None]:
    work()
    yield


async def _async_generator(work: Work) -> AsyncIterator[None]:
    work()
    yield


def _doing(work: Work) -> Callable[[str], bool]:
    def do(letter: str) -> bool:
        work()
        return True

    return do


def _future(work: Work) -> Awaitable[None]:
    """Un futur que personne n’accomplit : l’attendre échoue, ou n’en finit pas."""
    loop = asyncio.new_event_loop()
    try:
        return loop.create_future()
    finally:
        loop.close()


def _future_of_an_idle_loop(work: Work) -> Awaitable[None]:
    return idle_loop().create_future()


def _task_of_an_idle_loop(work: Work) -> Awaitable[None]:
    async def run() -> None:
        work()

    return idle_loop().create_task(run())


def _threadsafe_on_an_idle_loop(work: Work) -> Future[None]:
    """Ce que rend ``asyncio.run_coroutine_threadsafe`` : un futur qui ne s’attend pas."""

    async def run() -> None:
        work()

    return asyncio.run_coroutine_threadsafe(run(), idle_loop())


def promised(work: Work) -> Future[None]:
    """Ce que rend ``ThreadPoolExecutor.submit``, avant que son fil s’en occupe."""
    return Future()


def kept(result: object = None, error: BaseException | None = None) -> Future[Any]:
    """Un futur accompli : par un résultat, ou par une erreur."""
    future: Future[Any] = Future()
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)
    return future


def cancelled() -> Future[None]:
    future: Future[None] = Future()
    future.cancel()
    return future


def coroutine_returning(make: Callable[[], object]) -> Handler:
    async def handler(event: DomainEvent) -> object:
        return make()

    return handler


async def failing_task() -> object:
    return asyncio.create_task(_fail())


async def _fail() -> None:
    raise ValueError("no paper left")


async def cancelled_task() -> object:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    return task


# What was done elsewhere and failed there. Nobody waits for it: a handler that did would raise.
FAILED_ELSEWHERE: dict[str, Handler] = {
    "an executor’s future": lambda event: kept(error=ValueError("no paper left")),
    "one that failed with no Exception": lambda event: kept(error=Stop()),
    "a cancelled one": lambda event: cancelled(),
    "one that a coroutine returns": coroutine_returning(
        lambda: kept(error=ValueError("no paper left"))
    ),
    "one within another": lambda event: kept(kept(error=ValueError("no paper left"))),
    "a task": coroutine_of(lambda event: failing_task()),
    "a cancelled task": coroutine_of(lambda event: cancelled_task()),
}


def generator_of_a_coroutine(work: Work) -> Handler:
    async def handler(event: DomainEvent) -> object:
        return _generator(work)

    return handler


NEVER_RUN: dict[str, Callable[[Work], Handler]] = {
    "a generator": lambda work: lambda event: _generator(work),
    "a decorated generator": lambda work: logged(lambda event: _generator(work)),
    "a generator expression": lambda work: lambda event: (do("x") for do in [_doing(work)]),
    "an async generator": lambda work: lambda event: _async_generator(work),
    "a map": lambda work: lambda event: map(_doing(work), "x"),
    "a filter": lambda work: lambda event: filter(_doing(work), "x"),
    "a context manager": lambda work: lambda event: contextmanager(_generator)(work),
    "an async context manager": lambda work: (
        lambda event: asynccontextmanager(_async_generator)(work)
    ),
    "a decorator": lambda work: lambda event: logged(lambda event: work()),
    "a partial": lambda work: lambda event: functools.partial(work),
    "a future of another loop": lambda work: lambda event: _future(work),
    "a coroutine that returns a generator": generator_of_a_coroutine,
    "a future of a loop that is not running": lambda work: (
        lambda event: _future_of_an_idle_loop(work)
    ),
    "a task of a loop that is not running": lambda work: lambda event: _task_of_an_idle_loop(work),
    "a future from run_coroutine_threadsafe": lambda work: (
        lambda event: _threadsafe_on_an_idle_loop(work)
    ),
    "a future of an executor": lambda work: lambda event: promised(work),
    "a coroutine that returns one": lambda work: coroutine_returning(lambda: promised(work)),
    "a future that promises one": lambda work: lambda event: kept(promised(work)),
    "a future of a coroutine": lambda work: lambda event: kept(coroutine(work)(event)),
    "a future of a generator": lambda work: lambda event: kept(_generator(work)),
}


# How a handler ends badly.


class Stop(BaseException):
    """Comme ``gevent.Timeout`` : ni une erreur, ni une demande d’arrêt."""


class StrRaises(Exception):
    def __str__(self) -> str:
        return f"HTTP {self.args[0].status}"


class StrIsNoText(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class NothingPrints(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class StrRaisesTheWorst(Exception):
    def __str__(self) -> str:
        raise Stop


def _noted() -> Exception:
    error = ValueError("with a note")
    error.__notes__ = [NothingPrints()]  # type: ignore[list-item]
    return error


UNPRINTABLE: dict[str, Callable[[], Exception]] = {
    "str raises": lambda: StrRaises(None),
    "str is no text": StrIsNoText,
    "neither str nor repr": NothingPrints,
    "str raises no Exception": StrRaisesTheWorst,
    "str of its argument raises": lambda: ValueError(NothingPrints()),
    "a note that is no text": _noted,
    "huge": lambda: ValueError("x" * 3_000_000),
    "NUL": lambda: ValueError("nul \0"),
    "lone surrogate": lambda: ValueError("surrogate \ud800"),
}


def raising(make: Callable[[], BaseException]) -> Handler:
    def handler(event: DomainEvent) -> None:
        raise make()

    return handler


def raising_in_a_coroutine(make: Callable[[], BaseException]) -> Handler:
    async def handler(event: DomainEvent) -> None:
        raise make()

    return handler


# What is no Exception, and no request to stop either: a failure like another.
FAILURES: dict[str, Handler] = {
    "CancelledError": raising(asyncio.CancelledError),
    "CancelledError in a coroutine": raising_in_a_coroutine(asyncio.CancelledError),
    "GeneratorExit": raising(GeneratorExit),
    "another BaseException": raising(Stop),
    "another BaseException in a coroutine": raising_in_a_coroutine(Stop),
    "a group of them": raising(lambda: BaseExceptionGroup("several", [Stop(), ValueError()])),
}


# What has ended the transaction for good: only a new one can hold the verdict.


def ends_the_transaction(statement: str, error: Exception | None) -> Handler:
    def handler(event: DomainEvent) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        if error:
            raise error

    return handler


ENDED: dict[str, Handler] = {
    f"{statement}, then {type(error).__name__}": ends_the_transaction(statement, error)
    for statement in ("ROLLBACK", "COMMIT")
    for error in (ValueError("no paper left"), OperationalError("gone away"))
}
ENDED_IN_SILENCE: dict[str, Handler] = {
    statement: ends_the_transaction(statement, None) for statement in ("ROLLBACK", "COMMIT")
}


# What newer code has written, and this code cannot read.


class Channel(Enum):
    WEB = "web"


@register_event
@dataclass(frozen=True)
class Ordered(DomainEvent):
    event_type = "tests.ordered"

    reference: str
    channel: Channel = Channel.WEB
    size: Literal["small", "large"] = "small"


NEWER: dict[str, dict[str, Any]] = {
    "a new member of an enum": {"channel": "kiosk"},
    "a new value of a Literal": {"size": "huge"},
    "another type": {"reference": 12},
    "a required field that is missing": {"reference": ...},
}


def newer_payload(changes: dict[str, Any]) -> dict[str, Any]:
    payload = Ordered(reference="r-1").to_dict() | changes
    return {key: value for key, value in payload.items() if value is not ...}
