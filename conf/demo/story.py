"""Ce que fait le processus « web » : des appels de service, comme dans des vues."""

from __future__ import annotations

import os
import sys
import time
from decimal import Decimal

import django
from django.db import transaction

from .journal import read, tell


class CustomerVanishedError(Exception):
    """Ce qui fait annuler une transaction."""


def main() -> None:
    """Joue les étapes, chacune quand les effets de la précédente sont visibles."""
    from src.module.accounting.models import LedgerEntry
    from src.module.invoicing.models import Invoice
    from src.module.invoicing.services import approve_invoice
    from src.module.tenant.services import create_tenant

    first, second = (
        Invoice.objects.create(number=f"F-{number}", customer_email="a@b.fr", total=Decimal(90))
        for number in (1, 2)
    )

    tell("step", "A tenant is created.")
    with transaction.atomic():
        tenant = create_tenant("acme")
        _commits("the tenant")
    _until_done(1)

    tell("step", "Invoice F-1 is approved. The printer has no paper yet.")
    with transaction.atomic():
        approve_invoice(first.pk, tenant_id=str(tenant.pk))
        _commits("the invoice, its ledger entry")
    _until_done(3)

    tell("step", "Invoice F-2 is approved, then something fails in the same transaction.")
    try:
        with transaction.atomic():
            approve_invoice(second.pk, tenant_id=str(tenant.pk))
            raise CustomerVanishedError
    except CustomerVanishedError:
        entries = LedgerEntry.objects.filter(invoice_number=second.number).count()
        tell("ROLLBACK", f"ledger entries: {entries}, deliveries: {_pending()}; no one will know")

    tell("step", "Invoice F-2 is approved for good.")
    with transaction.atomic():
        approve_invoice(second.pk, tenant_id=str(tenant.pk))
        _commits("the invoice, its ledger entry")
    _until_done(5)


def _commits(what: str) -> None:
    """Raconté juste avant le commit : après, l’autre processus pourrait parler le premier."""
    tell("COMMIT", f"{what} and the deliveries to come ({_pending()}), together")


def _pending() -> int:
    from src.share_kernel.infrastructure.outbox.models import Delivery

    return Delivery.objects.filter(state=Delivery.State.PENDING).count()


def _until_done(count: int) -> None:
    """Attend que *count* handlers asynchrones aient réussi depuis le début.

    Sans limite : celui qui a lancé ce processus l’arrête quand plus rien n’avance.
    """
    parent = os.getppid()
    while sum(line.when == "after commit" and " done" in line.what for line in read()) < count:
        if os.getppid() != parent:
            sys.exit("The demo was killed.")
        time.sleep(0.02)


if __name__ == "__main__":
    django.setup()
    main()
