"""Réglages Django du projet de référence : SQLite et aucun serveur, sauf avis contraire."""

import os
from pathlib import Path

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("SECRET_KEY", "reference-project-not-for-production")
DEBUG = os.environ.get("DEBUG", "0") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "src.share_kernel",
    "src.module.tenant",
    "src.module.invoicing",
    "src.module.accounting",
    "src.module.notification",
]

if os.environ.get("OUTBOX") == "1":  # async handlers survive anything, and need `relay_events`
    INSTALLED_APPS += ["src.share_kernel.infrastructure.outbox"]

DATABASES = {
    "default": dj_database_url.config(
        env="DATABASE_URL",
        default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}",
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        # Take the write lock at BEGIN: upgrading a read lock later fails at once, without waiting.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds to wait for another process’s transaction
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    # The register’s index has a condition, which MariaDB leaves out: larger, and as right.
    SILENCED_SYSTEM_CHECKS = ["models.W037"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "fr"
TIME_ZONE = "UTC"
USE_TZ = True

# Every key is optional; these are the defaults.
EVENT_BUS = {
    "TENANT_CONTEXT": None,
    "MAX_DEPTH": 32,
    "MAX_ATTEMPTS": 8,
    "BREAKER_SECONDS": 5,
    "LOG_PAYLOAD": True,
    "CHECK_PAYLOADS": None,
    "KEEP_DONE": 30,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "event": {"()": "src.share_kernel.infrastructure.logs.EventContextFilter"},
    },
    "formatters": {
        "line": {"format": "%(levelname)s %(name)s [%(correlation_id)s] %(message)s"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["event"],
        },
    },
    "root": {"handlers": ["console"], "level": "INFO"},
}
