"""L’application Django du module notification."""

from django.apps import AppConfig


class NotificationConfig(AppConfig):
    """Déclare le module notification."""

    name = "src.module.notification"
    label = "notification"
    default_auto_field = "django.db.models.BigAutoField"
