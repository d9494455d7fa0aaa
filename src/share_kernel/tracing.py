"""Ce qui a eu lieu : publications, handlers, transactions, tables écrites, emboîtés."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, TypeAlias
from unittest.mock import patch

from django.db import DEFAULT_DB_ALIAS, connections

from .domain.domain_event import DomainEvent
from .infrastructure.registry import Plan, registry
from .infrastructure.subscriptions import Handler, Subscription

Kind: TypeAlias = Literal[
    "transaction", "savepoint", "commit", "publish", "waiting", "sync", "async", "raised", "write"
]

_TEXTS: dict[Kind, str] = {
    "transaction": "transaction", "savepoint": "savepoint", "commit": "commit",
    "publish": "publish", "waiting": "waiting:", "sync": "sync handler", "async": "async handler",
    "raised": "raised", "write": "",
}  # fmt: skip
_WRITE = re.compile(
    r"(?:\s|/\*.*?\*/)*(INSERT|UPDATE|DELETE|REPLACE)\b(?:\s+(?:OR\s+\w+|IGNORE|INTO|FROM|ONLY)\b)*"
    r"\s+(?:[\"`]?\w+[\"`]?\.)?[\"`]?(\w+)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(eq=False)
class Step:
    """Une chose qui a eu lieu, et ce qui a eu lieu pendant."""

    kind: Kind
    """Ce que c’est ; ``write`` pour une table écrite, ``raised`` pour une exception."""
    name: str = ""
    """L’événement, le handler, l’exception, ou l’ordre SQL et sa table."""
    steps: list[Step] = field(default_factory=list)
    """Ce qui a eu lieu pendant, dans l’ordre."""
    rolled_back: bool = False
    """La transaction ou le point de sauvegarde a été annulé, avec tout ce qu’il contient."""

    def lines(self, *, undone: bool = False) -> Iterator[str]:
        """Écrit l’étape et ce qu’elle contient, une ligne par étape."""
        undone = undone or self.rolled_back
        text = "never called:" if undone and self.kind == "waiting" else _TEXTS[self.kind]
        mark = "(rolled back)" if self.rolled_back else ""
        yield " ".join(filter(None, (text, self.name, mark)))
        for step in self.steps:
            yield from (f"  {line}" for line in step.lines(undone=undone))


class Trace:
    """Ce que :func:`trace_bus` a vu. ``print()`` l’écrit en lignes décalées."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        """Les étapes, dans l’ordre ; chacune contient celles qui ont eu lieu pendant."""

    def __str__(self) -> str:
        return "\n".join(line for step in self.steps for line in step.lines())


class _Recorder:
    """Emboîte dans une trace ce qui commence et ce qui finit, sur un fil d’exécution."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.open: list[tuple[object, Step]] = []
        self.thread = threading.get_ident()

    def add(self, step: Step) -> None:
        if threading.get_ident() == self.thread:
            (self.open[-1][1] if self.open else self.trace).steps.append(step)

    def enter(self, key: object, step: Step) -> None:
        self.add(step)
        if threading.get_ident() == self.thread:
            self.open.append((key, step))

    def leave(self, key: object) -> Step | None:
        """Ferme une étape, et ce qui est resté ouvert dedans."""
        for depth, (opened, step) in enumerate(self.open):
            if opened == key and threading.get_ident() == self.thread:
                del self.open[depth:]
                return step
        return None

    @contextmanager
    def during(self, step: Step) -> Iterator[None]:
        self.enter(step, step)
        try:
            yield
        except BaseException as error:
            self.add(Step("raised", type(error).__name__))
            raise
        finally:
            self.leave(step)


class _Handler:
    """Un handler synchrone qui dit quand il commence et comment il finit."""

    def __init__(self, handler: Handler, name: str, recorder: _Recorder) -> None:
        self.handler, self.name, self.recorder = handler, name, recorder

    def __eq__(self, other: object) -> bool:  # the bus looks a handler’s name up by comparing
        return self is other or self.handler == getattr(other, "handler", other)

    def __hash__(self) -> int:
        return hash(self.handler)

    def __call__(self, event: Any) -> object:
        with self.recorder.during(Step("sync", self.name)):
            return self.handler(event)


@dataclass(frozen=True, slots=True)
class _Subscription(Subscription):
    recorder: Any = None
    traced: Any = None

    def call(self, event: DomainEvent) -> None:
        with self.recorder.during(Step("async", self.name)):
            self.traced.call(event)


class _Connection:
    """Ce que dit une base, par les méthodes que Django appelle, quelle que soit la base."""

    FOLLOWED = (
        "set_autocommit", "commit", "rollback",
        "savepoint", "savepoint_commit", "savepoint_rollback",
    )  # fmt: skip

    def __init__(self, connection: Any, recorder: _Recorder) -> None:
        self.connection, self.recorder, self.alias = connection, recorder, connection.alias
        self.where = "" if self.alias == DEFAULT_DB_ALIAS else f"on {self.alias}"

    def follow(self, stack: ExitStack) -> None:
        for name in self.FOLLOWED:
            followed = partial(getattr(self, name), getattr(self.connection, name))
            stack.enter_context(patch.object(self.connection, name, followed))
        stack.enter_context(self.connection.execute_wrapper(self.execute))

    def begin(self, kind: Kind, sid: Any = None) -> None:
        self.recorder.enter((self.alias, sid), Step(kind, self.where))

    def end(self, sid: Any = None, *, rolled_back: bool = False) -> Step | None:
        step = self.recorder.leave((self.alias, sid))
        if step:
            step.rolled_back = rolled_back
        return step

    def set_autocommit(self, original: Any, autocommit: Any, *rest: Any, **options: Any) -> None:
        if not autocommit:
            self.begin("transaction")
        original(autocommit, *rest, **options)
        if autocommit:
            self.end()

    def commit(self, original: Any) -> None:
        original()
        if step := self.end():
            step.steps.append(Step("commit"))

    def rollback(self, original: Any) -> None:
        original()
        self.end(rolled_back=True)

    def savepoint(self, original: Any) -> Any:
        sid = original()
        self.begin("savepoint", sid)
        return sid

    def savepoint_commit(self, original: Any, sid: Any) -> None:
        original(sid)
        self.end(sid)

    def savepoint_rollback(self, original: Any, sid: Any) -> None:
        original(sid)
        self.end(sid, rolled_back=True)

    def execute(self, original: Any, sql: Any, *rest: Any) -> Any:
        result = original(sql, *rest)
        if isinstance(sql, str) and (found := _WRITE.match(sql)):
            if not (self.connection.autocommit or self.is_within()):
                self.begin("transaction")  # nothing told where it began
            name = " ".join(filter(None, (found[1].lower(), found[2], self.where)))
            self.recorder.add(Step("write", name))
        return result

    def is_within(self) -> bool:
        return any(isinstance(key, tuple) and key[0] == self.alias for key, _ in self.recorder.open)


@contextmanager
def trace_bus() -> Iterator[Trace]:
    """Relève ce qui a lieu dans le bloc : publications, handlers, transactions, tables écrites.

    Un handler qui attend dans ce qui est annulé n’est jamais appelé, et la trace le dit.
    Elle voit le bus global, et toutes les bases de ce fil d’exécution ; pas un autre processus.

    Yields:
        La trace, qui se remplit. ``print(trace)`` l’écrit.
    """
    trace = Trace()
    recorder = _Recorder(trace)
    with ExitStack() as stack:
        for connection in connections.all():
            _Connection(connection, recorder).follow(stack)
        stack.callback(registry.plans.clear)
        plan = partial(_plan, registry.plan, recorder)
        stack.enter_context(patch.object(registry, "plan", plan))
        registry.plans.clear()
        yield trace


def _plan(
    plan: Callable[[type[DomainEvent]], Plan | None], recorder: _Recorder, cls: type[DomainEvent]
) -> Plan:
    """Entoure ce que publier cette classe entraîne ; ``record_events()`` n’est pas un handler."""
    handlers, subscriptions, travels = plan(cls) or ((), (), False)
    known = [item for item in registry.for_event(cls) if item.name != "record_events"]

    def traced(handler: Handler) -> Handler:
        names = (item.name for item in known if not item.is_async and item.handler == handler)
        return next((_Handler(handler, name, recorder) for name in names), handler)

    def tell(event: DomainEvent) -> None:
        waiting = [Step("waiting", item.name) for item in subscriptions]
        recorder.add(Step("publish", event.event_type, waiting))

    def copy(item: Subscription) -> Subscription:
        same = {each.name: getattr(item, each.name) for each in fields(Subscription)}
        return _Subscription(**same, recorder=recorder, traced=item)

    made = (tell, *map(traced, handlers)), tuple(map(copy, subscriptions)), travels
    registry.plans[cls] = made
    return made
