"""L’événement du domaine, et comment une classe en devient un.

Ce module ne connaît ni Django ni Celery.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from . import declaration, payload
from .causation import current_cause
from .errors import (
    DomainEventError,
    EventChainTooDeepError,
    EventDefinitionError,
    NewerEventVersionError,
    PayloadError,
    PermanentFailure,
    RetryAfter,
    SubscriptionError,
    UnfinishedHandlerError,
    UnknownEventTypeError,
    UnknownHandlerError,
)
from .event_types import event_types, get_event_class
from .identifiers import uuid7

__all__ = [
    "DomainEvent",
    "DomainEventError",
    "EventChainTooDeepError",
    "EventDefinitionError",
    "NewerEventVersionError",
    "PayloadError",
    "PermanentFailure",
    "RetryAfter",
    "SubscriptionError",
    "UnfinishedHandlerError",
    "UnknownEventTypeError",
    "UnknownHandlerError",
    "get_event_class",
    "register_event",
]

_UNSET = UUID(int=0)  # the nil UUID means that none was given; compared by identity
_set = object.__setattr__  # the instances are frozen
# Defaults exist, but a payload must carry the real ones.
_REQUIRED = ("event_id", "correlation_id", "occurred_at")


@dataclass(frozen=True, kw_only=True)
class DomainEvent:
    """Un fait du domaine, daté et identifié, qui ne change plus.

    Déclarez chaque événement par une sous-classe :func:`dataclasses.dataclass` gelée et
    décorée par :func:`register_event`. Construit pendant le traitement d’un autre événement,
    il en hérite la corrélation et le désigne comme sa cause.

    Raises:
        PayloadError: *occurred_at* est une date sans fuseau horaire.
    """

    event_type: ClassVar[str]
    event_version: ClassVar[int] = 1
    ordering_key: ClassVar[str | None] = None
    """Le champ, ou la propriété, sous lequel les livraisons d’un handler se suivent."""

    event_id: UUID = field(default_factory=uuid7)
    """Identifiant unique de ce fait."""
    correlation_id: UUID = _UNSET
    """Commun à tous les événements d’une même chaîne ; par défaut, *event_id*."""
    causation_id: UUID | None = None
    """L’événement dont le traitement a produit celui-ci. Se donne avec *correlation_id*."""
    # Looked up at each call, so that a frozen clock is seen.
    occurred_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """Instant du fait, en UTC."""
    tenant_id: str | None = None
    """Le *tenant* concerné, ou ``None``."""

    def __post_init__(self) -> None:
        if self.occurred_at.tzinfo is not UTC:
            self._normalise_time()
        if self.correlation_id is _UNSET:
            cause = current_cause.get()
            if cause is None:
                _set(self, "correlation_id", self.event_id)
            else:
                _set(self, "correlation_id", cause[0].correlation_id)
                _set(self, "causation_id", cause[0].event_id)

    def _normalise_time(self) -> None:
        if self.occurred_at.utcoffset() is None:
            raise PayloadError(
                f"{type(self).__qualname__}.occurred_at is naive: {self.occurred_at!r}. "
                "Pass an aware datetime, for instance django.utils.timezone.now()."
            )
        _set(self, "occurred_at", self.occurred_at.astimezone(UTC))

    def to_dict(self) -> dict[str, Any]:
        """Renvoie l’événement en dictionnaire plat, prêt pour JSON.

        Raises:
            PayloadError: une valeur n’a pas d’écriture JSON.
        """
        try:
            data = payload.encode(self)
        except PayloadError as error:
            raise PayloadError(f"{self.event_type} {self.event_id} is no JSON: {error}") from None
        data["event_type"] = self.event_type
        data["event_version"] = self.event_version
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Reconstruit l’événement que décrit *data*, dans sa classe enregistrée.

        Les clés inconnues sont ignorées et *data* n’est pas modifié.
        Une charge utile plus ancienne passe d’abord par :meth:`upcast`.

        Args:
            data: ce que :meth:`to_dict` a produit, passé ou non par JSON.

        Raises:
            UnknownEventTypeError: aucune classe ne porte ce nom d’événement.
            NewerEventVersionError: la charge utile est plus récente que le code.
            PayloadError: un champ manque ou n’a pas le bon type ; le message le nomme.
        """
        event_class = get_event_class(_wire_name_in(data))
        try:
            if not issubclass(event_class, cls):
                raise PayloadError(f"it is a {event_class.__qualname__}, not a {cls.__qualname__}")
            version = data.get("event_version")
            if version != event_class.event_version or type(version) is not int:
                data = _at_current_version(data, event_class)
            for name in _REQUIRED:
                if name not in data:
                    raise PayloadError(f"field {name!r} is missing")
            return payload.decode(data, event_class)
        except PayloadError as error:
            label = f"{event_class.event_type} {data.get('event_id', '(no event_id)')}"
            raise PayloadError(f"{label} cannot be rebuilt: {error}") from error.__cause__

    @classmethod
    def upcast(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
        """Convertit une charge utile ancienne vers la version courante ; à redéfinir.

        Args:
            data: une copie de la charge utile, modifiable.
            from_version: sa version, inférieure à ``event_version``.

        Returns:
            La charge utile de la version courante.
        """
        return data


E = TypeVar("E", bound=DomainEvent)


def register_event(cls: type[E]) -> type[E]:
    """Enregistre une classe d’événement sous son ``event_type``.

    Le contrôle a lieu à l’import : la classe est une dataclass gelée, son nom est libre et
    bien formé, le type de chaque champ voyage en JSON sans changer.
    La même classe relue (rechargement, cellule rejouée) remplace l’ancienne.

    Raises:
        EventDefinitionError: la déclaration est refusée ; le message dit quoi corriger.
    """
    if not issubclass(cls, DomainEvent):
        raise EventDefinitionError(f"{cls.__qualname__} does not inherit from DomainEvent.")
    for fault in declaration.faults(cls, DomainEvent, event_types):
        raise EventDefinitionError(f"{cls.__module__}.{cls.__qualname__}: {fault}")
    event_types[cls.event_type] = cls
    return cls


def _wire_name_in(data: object) -> str:
    if not isinstance(data, dict):
        raise PayloadError(f"An event payload is a dict, not {type(data).__name__}: {data!r:.100}")
    name = data.get("event_type")
    if not isinstance(name, str):
        raise PayloadError(f"An event payload names its event_type; this one has {name!r:.100}")
    return name


def _at_current_version(data: dict[str, Any], event_class: type[DomainEvent]) -> dict[str, Any]:
    version, current = data.get("event_version", 1), event_class.event_version
    if type(version) is not int or version < 1:
        raise PayloadError(f"event_version is {version!r:.100}, not a whole number from 1")
    if version > current:
        raise NewerEventVersionError(
            f"{event_class.event_type} {data.get('event_id', '(no event_id)')} is of version "
            f"{version} and this code knows version {current}. "
            "Deploy the newer code to this process."
        )
    if version == current:
        return data
    try:
        return event_class.upcast(copy.deepcopy(data), version)
    except Exception as error:
        raise PayloadError(f"upcast from version {version} to {current}: {error!r}") from error
