import time

from django.db import models


class Effect(models.Model):
    """Ce que fait chaque travail : une petite insertion, qui dit quand il a commencé."""

    number = models.IntegerField()
    began = models.FloatField()


def leave_effect(number: int) -> None:
    Effect(number=number, began=time.time()).save()
