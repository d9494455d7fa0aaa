"""Le projet de référence, plus l’application de la démonstration."""

import os

from conf.settings import *  # noqa: F403
from conf.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "conf.demo"]  # last: its handlers come after the others
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("DEMO_QUEUE", "demo")  # nobody else’s worker reads it
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # leaves nothing else in the broker
