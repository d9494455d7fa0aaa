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


# (what it is, task, arguments or their JSON text, what the log must say and no other case makes
# it say)
CORPUS: list[tuple[str, str, Any, str | None]] = [
    ("a number for a payload", EVENT, [42, "number"], "handler number for event (a int instead"),
    ("nothing at all", EVENT, [None, None], "handler None for event (a NoneType instead"),
    ("a list for a payload", EVENT, [[1], "list"], "handler list for event (a list instead"),
    ("a list for a type", EVENT, [{"event_type": ["x"]}, HANDLER], "event_type is ['x']"),
    ("an empty event", EVENT, [{"event_type": "shop.marked"}, "empty"], "handler empty for event"),
    ("a wrong field", EVENT, [payload(label=3), HANDLER], "Expected `str`, got `int`"),
    ("a wrong identifier", EVENT, [payload(event_id="x"), HANDLER], "event_id is 'x'"),
    ("a wrong version", EVENT, [payload(event_version="x"), HANDLER], "event_version is 'x'"),
    ("a number for a handler", EVENT, [payload(), 42], "handler is 42, not"),
    ("a list for a handler", EVENT, [payload(), ["x"]], "handler is ['x']"),
    ("a text for a depth", EVENT, [payload(), HANDLER, "deep"], "depth is 'deep'"),
    ("an endless chain", EVENT, [payload(), HANDLER, 10**6], None),
    ("an unknown database", EVENT, [payload(), HANDLER, 0, "nope"], "using is 'nope'"),
    ("too few arguments", EVENT, [payload()], "missing 1 required positional argument"),
    ("too many arguments", EVENT, [payload(), HANDLER, 0, "default", 5], "positional arguments"),
    ("not a number", EVENT, '[{"event_type": "shop.marked", "label": NaN}, "nan"]', "handler nan"),
    ("deep nesting", EVENT, f"[{nested(100)}, 1]", "handler 1 for event (a list instead"),
    ("a huge label", EVENT, [payload(label="x" * 3_000_000, event_version=9), "x"], "version 9"),
    ("a NUL in a type", EVENT, [payload(event_type="shop\0marked"), "x"], r"is 'shop\x00marked'"),
    ("a lone surrogate", EVENT, '[{"event_type": "\\ud800"}, "x"]', r"event_type is '\ud800'"),
    ("a function of Python", EVENT, [payload(), "os.getcwd"], "is named 'os.getcwd'"),
    ("a boolean for a batch", BATCH, [True], "(a bool instead of a payload)"),
    ("numbers in a batch", BATCH, [[1.5, 2.5]], "(a float instead of a payload)"),
    ("an empty item", BATCH, [[{"handler": "hollow"}]], "andler hollow"),
    ("a number of rows", WAKE, [42], None),
    ("rows that are not", WAKE, [["x", None, 3, {"a": 1}]], "which is not a delivery"),
    ("a row that does not exist", WAKE, [[str(uuid.uuid4())]], None),
    ("rows of nowhere", WAKE, [[str(uuid.uuid4())], "nowhere"], "'nowhere' doesn't exist"),
]  # fmt: skip


def send(stack: Stack, task: str, args: Any) -> str:
    """Envoie un message dont ce code n’aurait pas voulu, au dernier essai ; renvoie son numéro."""
    number, text = str(uuid.uuid4()), args if isinstance(args, str) else json.dumps(args)
    headers = {
        "lang": "py", "task": task, "id": number, "root_id": None, "parent_id": None,
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
    return number


@pytest.mark.parametrize(
    ("task", "args", "words"), [case[1:] for case in CORPUS], ids=[case[0] for case in CORPUS]
)
def test_a_hostile_message_has_a_clear_end(
    durable: Stack, durable_worker: Worker, task: str, args: Any, words: str | None
) -> None:
    number = send(durable, task, args)
    durable_worker.waits_for(f"{task}[{number}] received")
    if words is not None:
        durable_worker.waits_for(words)
        return
    marker = uuid.uuid4().hex[:12]
    durable.run(f"publish_event(Marked(label={marker!r}))")
    durable.until_effects(marker, 1)


def test_no_case_passes_thanks_to_the_line_of_another() -> None:
    spoken = [words for _, _, _, words in CORPUS if words is not None]

    assert len(spoken) > 20
    for words in spoken:
        assert [other for other in spoken if words in other] == [words]


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
