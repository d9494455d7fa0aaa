"""L’application Django du noyau partagé."""

from importlib.util import find_spec

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ShareKernelConfig(AppConfig):
    """Importe au démarrage les handlers de chaque application installée."""

    name = __package__
    label = "share_kernel"
    verbose_name = "Noyau partagé"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Enregistre les vérifications, branche Celery, puis importe les ``handlers``."""
        from . import checks  # noqa: F401  (importing registers them)

        if find_spec("celery"):
            from .infrastructure import celery_transport, dispatch

            dispatch.send_with(celery_transport.CeleryTransport())
        autodiscover_modules("handlers")
