from dataclasses import dataclass

import pytest

from src.share_kernel.domain.domain_event import DomainEvent, register_event
from src.share_kernel.domain.errors import UnknownEventTypeError
from src.share_kernel.domain.event_types import event_types, get_event_class, restore, snapshot


def declare() -> type[DomainEvent]:
    @register_event
    @dataclass(frozen=True)
    class Kept(DomainEvent):
        event_type = "tests.kept"

    return Kept


def test_restoring_a_snapshot_forgets_what_came_since() -> None:
    before = snapshot()
    declare()

    restore(before)

    with pytest.raises(UnknownEventTypeError):
        get_event_class("tests.kept")
    assert event_types == before


def test_restoring_a_snapshot_gives_back_a_replaced_class() -> None:
    first = declare()
    before = snapshot()
    assert declare() is not first

    restore(before)

    assert get_event_class("tests.kept") is first
