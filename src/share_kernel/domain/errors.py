"""Les erreurs que lève le bus, et les deux signaux qu’un handler peut lui envoyer."""


class DomainEventError(Exception):
    """Base de toutes les erreurs du bus d’événements."""


class EventDefinitionError(DomainEventError, TypeError):
    """La déclaration d’une classe d’événement est refusée à l’import."""


class UnknownEventTypeError(DomainEventError, LookupError):
    """Aucune classe n’est enregistrée sous ce nom d’événement."""


class NewerEventVersionError(DomainEventError):
    """La charge utile vient d’une version de l’événement plus récente que ce code."""


class PayloadError(DomainEventError, ValueError):
    """Une valeur de l’événement ne voyage pas, ou une charge utile est invalide."""


class SubscriptionError(DomainEventError, TypeError):
    """Un abonnement est refusé : handler sans nom stable, ou nom déjà pris."""


class UnknownHandlerError(DomainEventError, LookupError):
    """Aucun handler asynchrone n’est abonné sous ce nom dans ce processus."""


class UnfinishedHandlerError(DomainEventError, RuntimeError):
    """Un handler est revenu, mais ce qu’il a fait est annulé ou n’a pas eu lieu."""


class PermanentFailure(DomainEventError):
    """À lever dans un handler asynchrone pour renoncer sans autre essai."""


class EventChainTooDeepError(PermanentFailure):
    """Des événements en causent d’autres sans fin : la chaîne dépasse ``MAX_DEPTH``."""


class RetryAfter(DomainEventError):
    """À lever dans un handler asynchrone pour choisir le délai du prochain essai.

    L’essai compte parmi ceux que ``MAX_ATTEMPTS`` autorise.

    Args:
        seconds: délai en secondes, positif ou nul.
        reason: ce que dit le journal.

    Raises:
        ValueError: le délai est négatif ou n’est pas un nombre fini.
    """

    seconds: float = 0.0  # for a subclass that does not call this __init__
    reason: str = ""

    def __init__(self, seconds: float, reason: str = "") -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"RetryAfter takes a finite, positive number of seconds: {seconds!r}")
        super().__init__(seconds, reason)  # both: Celery pickles exceptions between processes
        self.seconds = seconds
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or f"retry after {self.seconds} s"
