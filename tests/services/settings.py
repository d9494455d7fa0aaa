"""Le projet de référence, plus une application dont les handlers échouent exprès."""

import os

from conf.settings import *  # noqa: F403
from conf.settings import EVENT_BUS, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.services.shop"]
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("TEST_QUEUE", "celery")
EVENT_BUS = {
    **EVENT_BUS,
    "MAX_DEPTH": int(os.environ.get("TEST_MAX_DEPTH", "32")),
    "MAX_ATTEMPTS": int(os.environ.get("TEST_MAX_ATTEMPTS", "8")),
}
