"""Les tables du module accounting."""

from django.db import models


class LedgerEntry(models.Model):
    """Une écriture comptable : un montant dû."""

    invoice_number = models.CharField(max_length=30, unique=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.invoice_number}: {self.amount}"
