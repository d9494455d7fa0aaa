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


@register_event
@dataclass(frozen=True)
class Unlucky(DomainEvent):
    """Un handler à qui il arrive malheur, à ses premiers essais."""

    event_type = "shop.unlucky"

    label: str
    how: str
    times: int = 99


@register_event
@dataclass(frozen=True)
class Limited(DomainEvent):
    """Le même malheur pour trois handlers, qui n’ont pas droit au même nombre d’essais."""

    event_type = "shop.limited"

    label: str
    how: str
    times: int = 99


@register_event
@dataclass(frozen=True)
class Fragile(DomainEvent):
    """Un handler qui réussit, mais n’a droit qu’à un essai."""

    event_type = "shop.fragile"

    label: str
