"""Les vérifications système du bus, que ``manage.py check`` exécute."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from .domain.domain_event import UnknownEventTypeError, get_event_class
from .domain.event_types import event_types
from .infrastructure import broker
from .infrastructure.dispatch import slots
from .infrastructure.registry import registry
from .infrastructure.settings import DEFAULTS
from .infrastructure.subscriptions import Subscription, is_count

_VALID: dict[str, Callable[[Any], bool]] = {
    "TENANT_CONTEXT": lambda value: value is None or isinstance(value, str),
    "MAX_DEPTH": is_count,
    "MAX_ATTEMPTS": is_count,
    "BREAKER_SECONDS": lambda value: type(value) in (int, float) and value >= 0,
    "LOG_PAYLOAD": lambda value: type(value) is bool,
    "CHECK_PAYLOADS": lambda value: value is None or type(value) is bool,
    "KEEP_DONE": lambda value: type(value) in (int, float) and value >= 0,
}
_BROKER_SETTINGS = ("CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL", "BROKER_URL")
# What each transport cannot do without, with values to copy.
_FAIL_FAST: dict[str | None, dict[str, Any]] = {
    "redis": {"socket_timeout": 2, "socket_connect_timeout": 1},
    "amqp": {"confirm_publish": True, "confirm_timeout": 2, "read_timeout": 5},
}
_NEEDED = ("socket_timeout", "socket_connect_timeout", "confirm_publish")
_COUNTS_LOST_WORKERS = (5, 7)  # the first Celery that starts a killed worker’s handler again


@register("share_kernel")
def check_subscriptions(**_: Any) -> list[CheckMessage]:
    """Signale un handler abonné à un événement que personne n’a déclaré."""
    return [
        Error(
            f"Handler {item.name} is subscribed to {item.event_type!r}, an event that nobody "
            "declares: it would never be called.",
            hint=hint,
            id="share_kernel.E001",
        )
        for item in registry.all()
        if (hint := _never_called(item))
    ]


def _never_called(item: Subscription) -> str | None:
    if item.family:
        if any(item.distance(cls) is not None for cls in event_types.values()):
            return None
        return f"No registered event derives from {item.family.__qualname__}."
    try:
        get_event_class(item.event_type)
    except UnknownEventTypeError as error:
        return str(error)
    return None


@register("share_kernel")
def check_handlers(**_: Any) -> list[CheckMessage]:
    """Signale une fonction abonnée sous deux noms de module : elle serait appelée deux fois."""
    messages: list[CheckMessage] = []
    seen: dict[tuple[object, ...], Subscription] = {}
    for item in registry.all():
        place = _place(item)
        twin = seen.setdefault((item.event_type, item.is_async, *place), item) if place else item
        if twin.handler is not item.handler and twin.name != item.name:
            messages.append(
                Warning(
                    f"The handlers {twin.name} and {item.name} of {item.event_type!r} are the same "
                    "function, imported under two module names: it would be called twice.",
                    hint="Import that module by one path only, the one of INSTALLED_APPS.",
                    id="share_kernel.W004",
                )
            )
    return messages


def _place(item: Subscription) -> tuple[object, ...] | None:
    """Renvoie où une fonction est écrite, et son nom : la même, sous quelque module que ce soit."""
    function: Any = inspect.unwrap(item.handler)
    code = getattr(function, "__code__", None)
    if code is None or "<" in function.__qualname__:
        return None
    return (code.co_filename, code.co_firstlineno, function.__qualname__)


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
    return [*_fail_slow(conf, url), *_missing_queues(conf), *_loses_workers()]


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
    options, wanted = conf.broker_transport_options, _FAIL_FAST.get(transport, {})
    missing = [name for name in wanted if name in _NEEDED and not options.get(name)]
    if missing:
        yield Warning(
            f"The {transport} broker has no {' and no '.join(missing)} in "
            "broker_transport_options: when it fails, requests hang or messages are lost.",
            hint=f"Add {wanted} to CELERY_BROKER_TRANSPORT_OPTIONS, or to "
            "broker_transport_options on the Celery application.",
            id="share_kernel.W002",
        )


def _loses_workers() -> Iterator[CheckMessage]:
    if broker.VERSION < _COUNTS_LOST_WORKERS and not slots.enrol:
        here = ".".join(map(str, broker.VERSION))
        yield Warning(
            f"Celery {here} gives up the delivery of a killed worker, with an error in the log: "
            "it cannot start that handler again.",
            hint="Upgrade to Celery 5.7, or install the durable register: it starts it again.",
            id="share_kernel.W006",
        )


def _missing_queues(conf: Any) -> Iterator[CheckMessage]:
    if conf.task_create_missing_queues or not conf.task_queues:
        return
    names = {getattr(queue, "name", queue) for queue in conf.task_queues}
    for item in registry.all():
        if item.queue and item.queue not in names:
            yield Warning(
                f"Handler {item.name} is subscribed with queue={item.queue!r}, which is not one of "
                "task_queues: none of its messages would leave.",
                hint=f"The queues are {', '.join(map(str, sorted(names)))}.",
                id="share_kernel.W005",
            )


def _known_keys() -> str:
    return f"The keys are {', '.join(DEFAULTS)}."
