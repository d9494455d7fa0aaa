import json
from io import StringIO

from django.core.management import call_command

from src.share_kernel.infrastructure.event_bus import event_bus, subscribe_sync
from src.share_kernel.infrastructure.registry import registry


def output(**options: bool) -> str:
    stream = StringIO()
    call_command("list_event_handlers", stdout=stream, **options)
    return stream.getvalue()


def test_shows_who_reacts_to_what() -> None:
    lines = [line.split() for line in output().splitlines()]

    assert lines == [
        ["EVENT", "MODE", "HANDLER", "MODULE"],
        [
            "invoicing.invoice_approved",
            "sync",
            "src.module.accounting.handlers.record_ledger_entry",
            "src.module.accounting.handlers",
        ],
        [
            "invoicing.invoice_approved",
            "async",
            "src.module.notification.handlers.notify_customer",
            "src.module.notification.handlers",
        ],
        [
            "tenant.created",
            "async",
            "src.module.notification.handlers.announce_tenant",
            "src.module.notification.handlers",
        ],
    ]


def test_marks_an_event_that_nobody_declares() -> None:
    subscribe_sync("tests.nowhere", lambda event: None)

    assert "tests.nowhere (unknown)" in output()


def test_writes_json() -> None:
    assert len(json.loads(output(json=True))) == len(event_bus.subscriptions())


def test_says_when_there_is_none() -> None:
    registry.restore(())

    assert output() == "No handler is subscribed.\n"
