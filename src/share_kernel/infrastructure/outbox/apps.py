"""L’application Django du registre durable."""

from importlib.util import find_spec

from django.apps import AppConfig
from django.utils.translation import pgettext_lazy


class OutboxConfig(AppConfig):
    """Rend durable chaque handler asynchrone ; l’ajouter à ``INSTALLED_APPS`` suffit."""

    name = __package__
    label = "share_kernel_outbox"
    verbose_name = pgettext_lazy("share_kernel", "Delivery register")
    default_auto_field = "django.db.models.BigAutoField"
    keeps_deliveries = True  # read before ready() has plugged the register in

    def ready(self) -> None:
        """Branche le registre avant le commit, et enregistre ses vérifications."""
        from .. import dispatch
        from . import checks, enrolment  # noqa: F401  (importing checks registers them)

        if find_spec("celery"):
            from . import tasks  # noqa: F401
        dispatch.enrol_with(enrolment.enrol)
