"""L’application Celery, avec les réglages qui font échouer vite plutôt que bloquer."""

import os

from celery import Celery

PACKAGE = __name__.rpartition(".")[0]  # so that this file can be copied beside other settings
os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"{PACKAGE}.settings")

# What each transport needs so that a broker that fails costs a request a few seconds at most
# and loses no message in silence.
REDIS_OPTIONS = {
    "socket_timeout": 2,  # seconds; without it, a broker that stays silent blocks forever
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "retry_on_timeout": False,  # the bus retries once, then falls back
    "visibility_timeout": 3600,  # must exceed the longest countdown of a retry, 15 minutes
    "unacked_restore_interval": 10,  # kombu looks for what a killed worker held every 10 of these
}
AMQP_OPTIONS = {
    "confirm_publish": True,  # otherwise a message written to a dead connection is lost in silence
    "confirm_timeout": 2,
    "read_timeout": 5,
    "write_timeout": 5,
    "max_retries": 1,
}

# Without a broker, asynchronous handlers run in the process, right after the commit.
BROKER_URL = os.environ.get("BROKER_URL") or None

# acks_late and retry_on_worker_lost, without which a killed worker loses what it was doing, are
# set on the bus’s own tasks: see share_kernel/infrastructure/tasks.py.
app = Celery(PACKAGE)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    broker_url=BROKER_URL,
    accept_content=["json"],  # a message never becomes code
    task_serializer="json",
    broker_connection_timeout=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options=REDIS_OPTIONS if str(BROKER_URL).startswith("redis") else AMQP_OPTIONS,
    worker_prefetch_multiplier=1,
)
app.autodiscover_tasks()
