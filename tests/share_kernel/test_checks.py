from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, current_app
from django.core.checks import run_checks
from django.test import override_settings

from src.share_kernel.infrastructure import dispatch
from src.share_kernel.infrastructure.event_bus import subscribe_sync


def messages() -> dict[str, str]:
    return {str(item.id): f"{item.msg} {item.hint}" for item in run_checks(tags=["share_kernel"])}


def test_the_reference_project_is_clean() -> None:
    assert messages() == {}


def test_a_handler_of_an_event_nobody_declares() -> None:
    subscribe_sync("tenant.craeted", lambda event: None)

    found = messages()

    assert "'tenant.craeted'" in found["share_kernel.E001"]
    assert "Did you mean 'tenant.created'?" in found["share_kernel.E001"]


@pytest.mark.parametrize(
    ("value", "check", "words"),
    [
        ({"MAX_DEPHT": 3}, "E002", "Did you mean 'MAX_DEPTH'?"),
        ({"COLOUR": 3}, "E002", "The keys are TENANT_CONTEXT, MAX_DEPTH"),
        ([], "E002", "EVENT_BUS is not a dict"),
        ({"MAX_DEPTH": "32"}, "E003", "EVENT_BUS['MAX_DEPTH'] is '32'. Its default is 32."),
        ({"MAX_ATTEMPTS": 0}, "E003", "EVENT_BUS['MAX_ATTEMPTS'] is 0."),
        ({"MAX_ATTEMPTS": True}, "E003", "is True"),
        ({"MAX_ATTEMPTS": 40_000}, "E003", "is 40000"),
        ({"BREAKER_SECONDS": -1}, "E003", "is -1"),
        ({"LOG_PAYLOAD": "no"}, "E003", "is 'no'"),
        ({"TENANT_CONTEXT": 3}, "E003", "is 3"),
        ({"TENANT_CONTEXT": "nowhere.context"}, "E004", "No module named 'nowhere'"),
        ({"TENANT_CONTEXT": "conf.settings.missing"}, "E004", "dotted path of a context manager"),
    ],
)
def test_a_wrong_setting(value: Any, check: str, words: str) -> None:
    with override_settings(EVENT_BUS=value):
        assert words in messages()[f"share_kernel.{check}"]


def test_every_default_is_valid() -> None:
    from src.share_kernel.infrastructure.settings import DEFAULTS

    with override_settings(EVENT_BUS=dict(DEFAULTS)):
        assert messages() == {}


@pytest.fixture
def application_without_broker() -> Iterator[None]:
    before = current_app._get_current_object()  # type: ignore[attr-defined]
    Celery("tests.blind", set_as_current=False).set_current()
    yield
    before.set_current()


@pytest.mark.usefixtures("application_without_broker")
def test_a_broker_that_celery_does_not_see(settings: Any) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1/0"

    found = messages()["share_kernel.W001"]

    assert "a broker (CELERY_BROKER_URL) that the current Celery application does not see" in found
    assert "import it in the __init__.py beside settings.py" in found


@pytest.mark.parametrize(
    ("url", "options", "missing"),
    [
        ("redis://127.0.0.1/0", {}, "no socket_timeout and no socket_connect_timeout"),
        ("rediss://127.0.0.1/0", {"socket_timeout": 1}, "no socket_connect_timeout"),
        ("amqp://127.0.0.1//", {}, "no confirm_publish"),
        ("pyamqp://127.0.0.1//", {"confirm_publish": False}, "no confirm_publish"),
        ("memory://", {}, None),
        ("amqp://127.0.0.1//", {"confirm_publish": True}, None),
    ],
)
def test_a_broker_that_would_not_fail_fast(
    url: str, options: dict[str, Any], missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf, "broker_url", url)
    monkeypatch.setitem(current_app.conf, "broker_transport_options", options)

    found = messages().get("share_kernel.W002")

    assert (missing in found) if missing and found else found is missing
    for name in missing.split(" and ") if missing else ():  # the hint can be copied
        assert f"'{name.removeprefix('no ')}': " in str(found)


@pytest.mark.parametrize(
    ("version", "register", "warns"),
    [((5, 5), False, True), ((5, 6), False, True), ((5, 6), True, False), ((5, 7), False, False)],
)
def test_a_celery_that_does_not_start_a_killed_handler_again(
    version: tuple[int, int], register: bool, warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf, "broker_url", "memory://")
    monkeypatch.setattr("src.share_kernel.infrastructure.broker.VERSION", version)
    dispatch.enrol_with((lambda batch: None) if register else None)

    found = messages().get("share_kernel.W006")

    assert (found is not None) == warns
    if found:
        assert f"Celery 5.{version[1]} gives up the delivery of a killed worker" in found
        assert "Upgrade to Celery 5.7, or install the durable register" in found
