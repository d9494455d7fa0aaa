"""Un corpus de messages mauvais ou forgés : chacun a une issue claire, aucun n’arrête le worker."""

import json
import uuid
from typing import Any

import pytest
from kombu import Connection

from tests.services.shop.events import Marked

from .stack import Stack, Worker

EVENT = "share_kernel.dispatch_async_event"
BATCH = "share_kernel.dispatch_async_batch"
WAKE = "share_kernel.deliver"
HANDLER = "tests.services.shop.handlers.mark"


def payload(**changes: Any) -> dict[str, Any]:
    return Marked(label="hostile").to_dict() | changes


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# (what it is, task, arguments or their JSON text, what the log must say)
CORPUS: list[tuple[str, str, Any, str | None]] = [
    ("a number for a payload", EVENT, [42, HANDLER], "for event (a int instead of a payload)"),
    ("nothing at all", EVENT, [None, None], "(a NoneType instead of a payload)"),
    ("a list for a payload", EVENT, [[1], HANDLER], "(a list instead of a payload)"),
    ("a list for a type", EVENT, [{"event_type": ["x"]}, HANDLER], "names its event_type; this"),
    ("an empty event", EVENT, [{"event_type": "shop.marked"}, HANDLER], "'event_id' is missing"),
    ("a wrong field", EVENT, [payload(label=3), HANDLER], "Expected `str`, got `int`"),
    ("a wrong identifier", EVENT, [payload(event_id="x"), HANDLER], "Invalid UUID"),
    ("a wrong version", EVENT, [payload(event_version="x"), HANDLER], "not a whole number"),
    ("a number for a handler", EVENT, [payload(), 42], "are not a name and a whole number"),
    ("a list for a handler", EVENT, [payload(), ["x"]], "are not a name and a whole number"),
    ("a text for a depth", EVENT, [payload(), HANDLER, "deep"], "are not a name and a whole"),
    ("an endless chain", EVENT, [payload(), HANDLER, 10**6], None),
    ("an unknown database", EVENT, [payload(), HANDLER, 0, "nope"], "'nope' doesn't exist"),
    ("too few arguments", EVENT, [payload()], "missing 1 required positional argument"),
    ("too many arguments", EVENT, [payload(), HANDLER, 0, "default", 5], "positional arguments"),
    ("not a number", EVENT, '[{"event_type": "shop.marked", "label": NaN}, "x"]', "is missing"),
    ("deep nesting", EVENT, f"[{nested(100)}, 1]", "(a list instead of a payload)"),
    ("a huge label", EVENT, [payload(label="x" * 3_000_000, event_version=9), "x"], "version 9"),
    ("a NUL in a type", EVENT, [payload(event_type="shop\0marked"), "x"], "No event class is"),
    ("a lone surrogate", EVENT, '[{"event_type": "\\ud800"}, "x"]', "No event class is"),
    ("a function of Python", EVENT, [payload(), "os.getcwd"], "is named 'os.getcwd'"),
    ("a number for a batch", BATCH, [42], "(a int instead of a payload)"),
    ("numbers in a batch", BATCH, [[1, 2]], "(a int instead of a payload)"),
    ("an empty item", BATCH, [[{}]], "(a NoneType instead of a payload)"),
    ("a number of rows", WAKE, [42], None),
    ("rows that are not", WAKE, [["x", None, 3, {"a": 1}]], "which is not a delivery"),
    ("a row that does not exist", WAKE, [[str(uuid.uuid4())]], None),
    ("rows of nowhere", WAKE, [[str(uuid.uuid4())], "nope"], "'nope' doesn't exist"),
]  # fmt: skip


def send(stack: Stack, task: str, args: Any) -> None:
    """Envoie un message dont ce code n’aurait pas voulu, au dernier essai qui lui reste."""
    text = args if isinstance(args, str) else json.dumps(args)
    headers = {
        "lang": "py", "task": task, "id": str(uuid.uuid4()), "root_id": None, "parent_id": None,
        "group": None, "retries": 7, "share_kernel_skews": 143,
    }  # fmt: skip
    with Connection(stack.broker_url) as connection:
        connection.Producer().publish(
            f"[{text}, {{}}, {{}}]",
            routing_key=stack.queue,
            exchange="",
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
        )


@pytest.mark.parametrize(
    ("task", "args", "words"), [case[1:] for case in CORPUS], ids=[case[0] for case in CORPUS]
)
def test_a_hostile_message_has_a_clear_end(
    durable: Stack, durable_worker: Worker, task: str, args: Any, words: str | None
) -> None:
    if words is not None:
        send(durable, task, args)
        durable_worker.waits_for(words)
        return
    marker = uuid.uuid4().hex[:12]
    send(durable, task, args)
    durable.run(f"publish_event(Marked(label={marker!r}))")
    durable.until_effects(marker, 1)


def test_the_worker_has_survived_the_whole_corpus(durable: Stack, durable_worker: Worker) -> None:
    for _, task, args, _ in CORPUS:
        send(durable, task, args)
    marker = uuid.uuid4().hex[:12]
    durable.run(f"publish_event(Marked(label={marker!r}))")

    durable.until_effects(marker, 1)
    assert durable_worker.process.poll() is None


def test_only_json_is_accepted(durable: Stack, durable_worker: Worker, tmp_path: Any) -> None:
    """Un message pickle n’est pas décodé : il ne devient pas du code."""
    flag = tmp_path / "executed"
    pickled = f"cposix\nsystem\n(S'touch {flag}'\ntR.".encode()
    with Connection(durable.broker_url) as connection:
        connection.Producer().publish(
            pickled,
            routing_key=durable.queue,
            exchange="",
            headers={"task": EVENT, "id": str(uuid.uuid4()), "lang": "py"},
            content_type="application/x-python-serialize",
            content_encoding="binary",
        )
    durable_worker.waits_for("Refusing to deserialize")
    assert not flag.exists()
