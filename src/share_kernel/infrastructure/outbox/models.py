"""La table des livraisons : une ligne par événement et par handler asynchrone."""

from __future__ import annotations

import uuid

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils import timezone

if not apps.is_installed(__package__):  # Django would take the table for one of the core’s
    raise ImproperlyConfigured(
        f"The durable register is not installed. Add {__package__!r} to INSTALLED_APPS, then run "
        "`manage.py migrate`. (In the reference project: export OUTBOX=1.)"
    )


class Delivery(models.Model):
    """Un handler à exécuter sur un événement : boîte d’envoi, essais et rebut en une ligne.

    Elle existe si et seulement si la transaction qui a publié est validée.
    """

    class State(models.TextChoices):
        """Où en est la livraison."""

        PENDING = "pending", "en attente"
        DONE = "done", "faite"
        DEAD = "dead", "abandonnée"

    # Chosen by the publisher: the wake-up message needs it, and a row that already exists
    # (the same event published twice) gives none back.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=200)
    event_version = models.PositiveIntegerField()
    handler = models.CharField(max_length=255)
    depth = models.PositiveSmallIntegerField()
    # Strict ASCII JSON in a text: a JSON column refuses NUL on PostgreSQL and accepts it on SQLite.
    payload = models.TextField()

    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    sends = models.PositiveSmallIntegerField(default=0)  # wake-ups since the last attempt
    error = models.TextField(blank=True, default="")

    created_at = models.DateTimeField(default=timezone.now)
    pending_since = models.DateTimeField(default=timezone.now)
    # When a worker may start (backoff, and the claim of another worker) and when the relay may
    # send a wake-up again are two different times: with a single one, duplicate wake-ups would
    # burn every attempt in milliseconds.
    start_after = models.DateTimeField(default=timezone.now)
    send_after = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["event_id", "handler"], name="delivery_once"),
        ]
        indexes = [
            models.Index(
                fields=["send_after"], name="delivery_pending", condition=models.Q(state="pending")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id} → {self.handler} ({self.state})"
