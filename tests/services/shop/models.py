from django.db import models


class Effect(models.Model):
    """Ce qu’un handler a fait, et où."""

    handler = models.CharField(max_length=50)
    label = models.CharField(max_length=50)
    event_id = models.UUIDField()
    correlation_id = models.UUIDField()
    pid = models.IntegerField()
