"""Les tables du module notification."""

from django.db import models


class Notification(models.Model):
    """Un message à lire dans l’application : un par événement et par destinataire."""

    event_id = models.UUIDField()
    recipient = models.CharField(max_length=254)
    subject = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_id", "recipient"], name="notification_once"),
        ]

    def __str__(self) -> str:
        return f"{self.recipient}: {self.subject}"
