"""L’application Django du module accounting."""

from django.apps import AppConfig


class AccountingConfig(AppConfig):
    """Déclare le module accounting."""

    name = "src.module.accounting"
    label = "accounting"
    default_auto_field = "django.db.models.BigAutoField"
