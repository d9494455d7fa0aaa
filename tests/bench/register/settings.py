"""Le projet de référence, avec l’application du banc et celles d’un seul concurrent."""

import os

from conf.settings import *  # noqa: F403
from conf.settings import DATABASES, INSTALLED_APPS, LOGGING
from tests.settings import MIDDLEWARE, STATIC_URL, TEMPLATES  # noqa: F401

INSTALLED_APPS = [
    *INSTALLED_APPS,
    *filter(None, os.environ.get("BENCH_APPS", "").split(",")),
    "tests.bench.register.app",
]
ROOT_URLCONF = "tests.urls" if "django.contrib.admin" in INSTALLED_APPS else None
DATABASES = {"default": DATABASES["default"]}
# Celery closes its connections before and after each task, whatever CONN_MAX_AGE says.
CELERY_DB_REUSE_MAX = int(os.environ.get("BENCH_REUSE", "0"))
LOGGING["root"] = {"handlers": ["console"], "level": "WARNING"}  # a line for each job costs
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
