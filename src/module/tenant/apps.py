"""L’application Django du module tenant."""

from django.apps import AppConfig


class TenantConfig(AppConfig):
    """Déclare le module tenant."""

    name = "src.module.tenant"
    label = "tenant"
    default_auto_field = "django.db.models.BigAutoField"
