from dataclasses import dataclass

from src.share_kernel.domain.domain_event import DomainEvent, register_event


@register_event
@dataclass(frozen=True)
class Sold(DomainEvent):
    """Trois handlers, dont un échoue deux fois."""

    event_type = "shop.sold"

    label: str


@register_event
@dataclass(frozen=True)
class Marked(DomainEvent):
    """Un handler qui réussit : ce qui est traité après lui l’est après tout le reste."""

    event_type = "shop.marked"

    label: str


@register_event
@dataclass(frozen=True)
class Doomed(DomainEvent):
    """Un handler qui échoue toujours."""

    event_type = "shop.doomed"

    label: str


@register_event
@dataclass(frozen=True)
class Deadly(DomainEvent):
    """Un handler qui tue son processus, une fois ou toujours."""

    event_type = "shop.deadly"

    label: str
    always: bool = False


@register_event
@dataclass(frozen=True)
class Endless(DomainEvent):
    """Un événement qui se cause lui-même."""

    event_type = "shop.endless"

    label: str
