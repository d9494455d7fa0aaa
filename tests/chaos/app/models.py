"""Ce qui est validé, et ce qui en résulte."""

from typing import ClassVar

from django.db import models


class Customer(models.Model):
    """Celui dont les commandes se suivent : qui publie tient son verrou."""

    orders = models.IntegerField(default=0)

    objects: ClassVar[models.Manager["Customer"]] = models.Manager()


class Order(models.Model):
    """Ce que celui qui publie écrit dans sa transaction."""

    event_id = models.UUIDField(unique=True)

    objects: ClassVar[models.Manager["Order"]] = models.Manager()


class Effect(models.Model):
    """Ce qu’un handler a fait, sans contrainte d’unicité : un doublon doit se voir."""

    event_id = models.UUIDField()
    handler = models.CharField(max_length=20)

    objects: ClassVar[models.Manager["Effect"]] = models.Manager()
