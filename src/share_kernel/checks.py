"""Les vérifications système du bus, que ``manage.py check`` exécute."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from .domain.domain_event import UnknownEventTypeError, get_event_class
from .infrastructure import broker
from .infrastructure.event_bus import event_bus
from .infrastructure.settings import DEFAULTS

_VALID: dict[str, Callable[[Any], bool]] = {
    "TENANT_CONTEXT": lambda value: value is None or isinstance(value, str),
    "MAX_DEPTH": lambda value: type(value) is int and value >= 1,
    "MAX_ATTEMPTS": lambda value: type(value) is int and value >= 1,
    "BREAKER_SECONDS": lambda value: type(value) in (int, float) and value >= 0,
    "LOG_PAYLOAD": lambda value: type(value) is bool,
    "CHECK_PAYLOADS": lambda value: value is None or type(value) is bool,
}
_BROKER_SETTINGS = ("CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL", "BROKER_URL")
_FAIL_FAST: dict[str | None, tuple[str, ...]] = {
    "redis": ("socket_timeout", "socket_connect_timeout"),
    "amqp": ("confirm_publish",),
}


@register("share_kernel")
def check_subscriptions(**_: Any) -> list[CheckMessage]:
    """Signale un handler abonné à un événement que personne n’a déclaré."""
    messages: list[CheckMessage] = []
    for subscription in event_bus.subscriptions():
        try:
            get_event_class(subscription.event_type)
        except UnknownEventTypeError as error:
            messages.append(
                Error(
                    f"Handler {subscription.name} is subscribed to {subscription.event_type!r}, "
                    "an event that nobody declares: it would never be called.",
                    hint=str(error),
                    id="share_kernel.E001",
                )
            )
    return messages


@register("share_kernel")
def check_settings(**_: Any) -> list[CheckMessage]:
    """Signale une clé inconnue ou une valeur invalide du dictionnaire ``EVENT_BUS``."""
    values = getattr(django_settings, "EVENT_BUS", {})
    if not isinstance(values, dict):
        return [Error("EVENT_BUS is not a dict.", hint=_known_keys(), id="share_kernel.E002")]
    return [message for key, value in values.items() for message in _check_setting(key, value)]


def _check_setting(key: Any, value: Any) -> Iterator[CheckMessage]:
    if key not in DEFAULTS:
        close = difflib.get_close_matches(str(key), DEFAULTS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else _known_keys()
        yield Error(f"EVENT_BUS has an unknown key {key!r}.", hint=hint, id="share_kernel.E002")
    elif not _VALID[key](value):
        yield Error(
            f"EVENT_BUS[{key!r}] is {value!r}.",
            hint=f"Its default is {DEFAULTS[key]!r}.",
            id="share_kernel.E003",
        )
    elif key == "TENANT_CONTEXT" and value is not None:
        try:
            import_string(value)
        except ImportError as error:
            yield Error(
                f"EVENT_BUS['TENANT_CONTEXT'] cannot be imported: {error}",
                hint="It is the dotted path of a context manager that takes the tenant id.",
                id="share_kernel.E004",
            )


@register("share_kernel")
def check_celery(**_: Any) -> list[CheckMessage]:
    """Signale un broker que Celery ne voit pas, ou dont une panne bloquerait les requêtes."""
    named = next((name for name in _BROKER_SETTINGS if getattr(django_settings, name, None)), None)
    conf = broker.celery_conf()
    url = conf and broker.broker_url(conf)
    if not url:
        return [_invisible_broker(named)] if named else []
    return list(_fail_slow(conf, url))


def _invisible_broker(name: str) -> CheckMessage:
    return Warning(
        f"The settings name a broker ({name}) that the current Celery application does not see: "
        "async handlers run in the web process.",
        hint="Install Celery, create the application in a celery.py with "
        "config_from_object('django.conf:settings', namespace='CELERY'), and import it in the "
        "__init__.py beside settings.py. The celery.py of the reference project takes the address "
        "from the environment variable BROKER_URL.",
        id="share_kernel.W001",
    )


def _fail_slow(conf: Any, url: Any) -> Iterator[CheckMessage]:
    scheme = str(url[0] if isinstance(url, list | tuple) else url).partition("://")[0]
    transport = "redis" if scheme.startswith("redis") else "amqp" if "amqp" in scheme else None
    options = conf.broker_transport_options
    missing = [name for name in _FAIL_FAST.get(transport, ()) if not options.get(name)]
    if missing:
        yield Warning(
            f"The {transport} broker has no {' and no '.join(missing)} in "
            "broker_transport_options: when it fails, requests hang or messages are lost.",
            hint="Copy broker_transport_options from conf/celery.py of the reference project.",
            id="share_kernel.W002",
        )


def _known_keys() -> str:
    return f"The keys are {', '.join(DEFAULTS)}."
