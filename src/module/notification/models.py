"""Les tables du module notification."""

from django.db import models


class Notification(models.Model):
    """Un message envoyé : un par événement et par sorte, même si le handler recommence."""

    event_id = models.UUIDField()
    kind = models.CharField(max_length=30)
    recipient = models.CharField(max_length=254)
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_id", "kind"], name="notification_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} → {self.recipient}"
