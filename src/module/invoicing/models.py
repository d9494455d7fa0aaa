"""Les tables du module invoicing."""

from django.db import models


class Invoice(models.Model):
    """Une facture, à approuver une fois."""

    number = models.CharField(max_length=30, unique=True)
    customer_email = models.EmailField()
    total = models.DecimalField(max_digits=12, decimal_places=2)
    approved_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.number
