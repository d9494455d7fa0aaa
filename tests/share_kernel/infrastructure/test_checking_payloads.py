"""Une mauvaise valeur n’attend pas le handler d’un autre pour être trouvée."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from src.share_kernel.domain.domain_event import PayloadError
from src.share_kernel.infrastructure.event_bus import publish_event, subscribe_sync
from tests.share_kernel.events import OrderPlaced

ROOT = Path(__file__).resolve().parents[3]
BAD = OrderPlaced(total=float("nan"))


def test_under_test_an_event_without_handlers_is_checked() -> None:
    with pytest.raises(PayloadError, match="field 'total' is nan"):
        publish_event(BAD)


def test_before_any_sync_handler() -> None:
    seen: list[Any] = []
    subscribe_sync(OrderPlaced, seen.append)

    with pytest.raises(PayloadError):
        publish_event(BAD)

    assert seen == []


def test_a_change_of_the_setting_is_seen(settings: Any) -> None:
    settings.EVENT_BUS = {"CHECK_PAYLOADS": False}
    publish_event(BAD)

    settings.EVENT_BUS = {"CHECK_PAYLOADS": True}
    with pytest.raises(PayloadError):
        publish_event(BAD)

    settings.EVENT_BUS = {"CHECK_PAYLOADS": False}
    publish_event(BAD)


@pytest.mark.parametrize(("debug", "checked"), [(True, True), (False, False)])
def test_elsewhere_debug_decides_and_django_test_is_not_imported(
    debug: bool, checked: bool
) -> None:
    code = f"""
import sys, django
from django.conf import settings
settings.configure(DEBUG={debug}, INSTALLED_APPS=["src.share_kernel"])
django.setup()
from src.share_kernel.infrastructure.settings import checks_payloads
print(checks_payloads(), "django.test" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == f"{checked} False\n", done.stderr
