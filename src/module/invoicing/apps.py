"""L’application Django du module invoicing."""

from django.apps import AppConfig


class InvoicingConfig(AppConfig):
    """Déclare le module invoicing."""

    name = "src.module.invoicing"
    label = "invoicing"
    default_auto_field = "django.db.models.BigAutoField"
