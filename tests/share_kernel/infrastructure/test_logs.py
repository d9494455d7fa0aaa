"""Ce que le journal garde d’un événement auquel on renonce."""

from typing import Any

import pytest

from src.share_kernel.infrastructure.logs import log_given_up


def test_what_no_json_can_write_is_still_there(caplog: pytest.LogCaptureFixture) -> None:
    payload: dict[Any, Any] = {"event_type": "shop.order_placed", "order_id": "o-7"}
    payload["itself"] = payload

    log_given_up(payload, "h", ValueError("no paper left"))

    assert "'order_id': 'o-7'" in caplog.text
