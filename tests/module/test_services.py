from decimal import Decimal

import pytest
from django.db import IntegrityError

from src.module.accounting.models import LedgerEntry
from src.module.invoicing.domain.events import InvoiceApproved
from src.module.invoicing.models import Invoice
from src.module.invoicing.services import InvoiceAlreadyApprovedError, approve_invoice
from src.module.notification.models import Notification
from src.module.tenant.domain.events import TenantCreated
from src.module.tenant.services import create_tenant
from src.share_kernel.domain.domain_event import DomainEvent
from src.share_kernel.testing import deliver_pending

pytestmark = pytest.mark.django_db


@pytest.fixture
def invoice() -> Invoice:
    return Invoice.objects.create(
        number="F-2026-001", customer_email="ferrand@example.com", total=Decimal("1500.00")
    )


def test_creating_a_tenant_announces_it(record_events: list[DomainEvent]) -> None:
    tenant = create_tenant("boulangerie-ferrand")

    (event,) = record_events
    assert isinstance(event, TenantCreated)
    assert event.tenant_id == str(tenant.pk)
    assert event.schema_name == "boulangerie_ferrand"
    deliver_pending()
    assert Notification.objects.get().subject == (
        "New tenant boulangerie-ferrand, schema boulangerie_ferrand"
    )


def test_a_slug_already_taken_announces_nothing(record_events: list[DomainEvent]) -> None:
    create_tenant("ferrand")
    record_events.clear()

    with pytest.raises(IntegrityError):
        create_tenant("ferrand")

    assert record_events == []


def test_approving_an_invoice_records_it_at_once_and_tells_the_customer_later(
    invoice: Invoice,
) -> None:
    approve_invoice(invoice.pk)

    assert LedgerEntry.objects.get().amount == Decimal("1500.00")
    assert not Notification.objects.exists()
    deliver_pending()
    assert Notification.objects.get().recipient == "ferrand@example.com"


def test_an_invoice_is_approved_once(invoice: Invoice, record_events: list[DomainEvent]) -> None:
    approve_invoice(invoice.pk)

    with pytest.raises(InvoiceAlreadyApprovedError, match="F-2026-001 is already approved"):
        approve_invoice(invoice.pk)

    assert len(record_events) == 1


def test_a_refused_ledger_entry_refuses_the_approval(invoice: Invoice) -> None:
    LedgerEntry.objects.create(invoice_number="F-2026-001", amount=1)

    with pytest.raises(IntegrityError):
        approve_invoice(invoice.pk)

    invoice.refresh_from_db()
    assert invoice.approved_at is None


def test_the_same_event_twice_tells_once() -> None:
    event = InvoiceApproved(
        invoice_id="1", number="F-1", customer_email="a@example.com", total=Decimal(1)
    )
    from src.module.notification.handlers import notify_customer

    notify_customer(event)
    notify_customer(event)

    assert Notification.objects.count() == 1
