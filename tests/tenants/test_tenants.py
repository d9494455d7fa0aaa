"""Un schéma PostgreSQL par tenant : chaque handler écrit dans le sien, et nulle part ailleurs."""

import uuid
from typing import Any

import pytest

from tests.services.stack import ROOT

from .conftest import Project

SHARED = [
    "customers_client",
    "django_content_type",
    "django_migrations",
    "share_kernel_outbox_delivery",
    "tenant_tenant",
]


@pytest.fixture
def number() -> str:
    return f"F-{uuid.uuid4().hex[:8]}"


def find(contents: Any, number: str) -> dict[str, list[int]]:
    """Compte, par schéma, les écritures puis les notifications de cette facture."""
    return {
        schema: [numbers.count(number) for numbers in lists] for schema, lists in contents.items()
    }


def test_tenant_created_leads_to_its_schema(project: Project) -> None:
    before = project.run("create_tenant('first'); show([schema_exists('first'), tables('public')])")
    assert before == [False, SHARED]

    project.relay()

    tables = project.run("show([tables('first'), tables('public')])")
    assert tables == [
        [
            "accounting_ledgerentry",
            "django_migrations",
            "invoicing_invoice",
            "notification_notification",
        ],
        SHARED,  # the register is there, and only there
    ]


def test_a_handler_that_comes_before_the_schema_waits_for_it(project: Project) -> None:
    """Les deux handlers de tenant.created ; celui qui crée le schéma est retenu."""
    project.run(
        """
        from datetime import timedelta
        from django.utils import timezone
        create_tenant("early")
        rows = Delivery.objects.filter(payload__contains="early", handler__endswith="create_schema")
        rows.update(start_after=timezone.now() + timedelta(hours=1))
        """
    )
    project.relay()

    waiting = """
        rows = Delivery.objects.filter(payload__contains="early")
        show(rows.filter(handler__endswith="announce_tenant").values_list("state", "error").get())
        """
    state, error = project.run(waiting)
    assert state == "pending"
    assert 'relation "notification_notification" does not exist' in error

    project.run(
        """
        from django.utils import timezone
        rows = Delivery.objects.filter(payload__contains="early", handler__endswith="create_schema")
        rows.update(start_after=timezone.now())
        """
    )
    project.settle()

    assert project.run(waiting) == ["done", ""]
    written = """
        with schema_context("early"):
            show(list(Notification.objects.values_list("subject", flat=True)))
        """
    assert project.run(written) == ["New tenant early, schema early"]


def test_an_event_of_a_deleted_tenant_is_given_up(project: Project) -> None:
    project.run(
        """
        tenant = create_tenant("gone")
        tenant.delete()
        """
    )
    project.relay()

    rows = project.run(
        """
        rows = Delivery.objects.filter(payload__contains="gone")
        show(list(rows.values_list("state", "attempts", "error").distinct()))
        """
    )
    assert len(rows) == 1
    assert rows[0][:2] == ["dead", 1]
    assert "has been deleted" in rows[0][2]


def test_an_event_writes_in_its_own_schema_only(two_tenants: Project, number: str) -> None:
    rows = two_tenants.run(
        f"""
        approve("alpha", {number!r})
        show(Delivery.objects.filter(payload__contains={number!r}).count())
        """
    )
    assert rows == 2  # written from inside alpha, in the public schema

    two_tenants.relay()

    contents = two_tenants.run("show(contents('alpha', 'beta'))")
    assert find(contents, number) == {"alpha": [1, 1], "beta": [0, 0]}


def test_one_relay_serves_both_tenants_around_failures(two_tenants: Project, number: str) -> None:
    two_tenants.run(
        f"""
        for reason in ("python", "sql"):
            for turn in range(3):
                label, email = f"{number}-{{reason}}-{{turn}}", f"{{reason}}@example.org"
                approve("alpha", f"{{label}}-a")
                approve("beta", f"{{label}}-b!", email=email)
                approve("alpha", f"{{label}}-a!", email=email)
                approve("beta", f"{{label}}-b")
        """
    )
    two_tenants.relay()

    contents = two_tenants.run("show(contents('alpha', 'beta'))")
    for slug, lists in contents.items():
        expected = [
            f"{number}-{reason}-{turn}-{slug[0]}{mark}"
            for reason in ("python", "sql")
            for turn in range(3)
            for mark in ("", "!")
        ]
        for numbers in lists:
            assert [item for item in numbers if item.startswith(number)] == expected
    broken = two_tenants.run(
        f"""
        rows = Delivery.objects.filter(handler__endswith="break_on_demand", state="dead")
        found = [rows.filter(payload__contains={number!r}).count()]
        for slug in ("alpha", "beta"):
            with schema_context(slug):
                found.append(Notification.objects.filter(recipient="broken").count())
        show(found)
        """
    )
    assert broken == [12, 0, 0]  # given up, and what they wrote rolled back


def test_the_schema_is_restored_after_each_handler(two_tenants: Project, number: str) -> None:
    seen = two_tenants.run(
        f"""
        from tests.share_kernel.one_row import deliver_row
        seen = []
        for reason in ("customer", "python", "sql"):
            approve("alpha", f"{number}-{{reason}}", email=f"{{reason}}@example.org")
            rows = Delivery.objects.filter(payload__contains=f"{number}-{{reason}}")
            for pk in list(rows.values_list("pk", flat=True)):
                deliver_row(pk, "default")
                seen.append([connection.schema_name, search_path()])
            with transaction.atomic(), schema_context("beta"):
                seen.append([connection.schema_name, search_path()])
        show(seen)
        """
    )

    assert seen == [["public", "public"], ["public", "public"], ["beta", "beta, public"]] * 3


def test_without_the_register_the_publisher_keeps_its_schema(
    two_tenants: Project, number: str
) -> None:
    """Le repli exécute les handlers dans la requête, dont le tenant peut être un autre."""
    seen, found = two_tenants.run(
        f"""
        from decimal import Decimal
        from src.module.invoicing.domain.events import InvoiceApproved
        from src.share_kernel.infrastructure.event_bus import publish_event
        beta, seen = Tenant.objects.get(slug="beta"), []
        for reason in ("customer", "python", "sql"):
            with schema_context("alpha"):
                publish_event(InvoiceApproved(
                    tenant_id=str(beta.pk), invoice_id="1", number=f"{number}-{{reason}}",
                    customer_email=f"{{reason}}@example.org", total=Decimal(1),
                ))
                seen.append([connection.schema_name, search_path()])
        show([seen, contents("alpha", "beta")])
        """,
        outbox=False,
    )

    assert seen == [["alpha", "alpha, public"]] * 3
    for reason in ("customer", "python", "sql"):
        # The sync handler ran in the caller's schema, the async ones in their tenant's.
        assert find(found, f"{number}-{reason}") == {"alpha": [1, 0], "beta": [0, 1]}


def test_the_guide_shows_the_tested_code() -> None:
    def lines(path: str) -> list[str]:
        return [line for line in (ROOT / path).read_text("utf-8").splitlines() if line]

    _, *code = lines("tests/tenants/schemas.py")

    assert "\n".join(code) in "\n".join(lines("docs/guides/multi-tenant.md"))
