"""L’application Django du registre durable."""

from importlib.util import find_spec

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """Rend durable chaque handler asynchrone ; l’ajouter à ``INSTALLED_APPS`` suffit."""

    name = __package__
    label = "share_kernel_outbox"
    verbose_name = "Registre des livraisons"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Met le registre à la place de l’envoi direct, et enregistre ses vérifications."""
        from ..event_bus import event_bus
        from . import checks, enrolment  # noqa: F401  (importing checks registers them)

        if find_spec("celery"):
            from . import tasks  # noqa: F401
        event_bus.enrol_with(enrolment.enrol)
