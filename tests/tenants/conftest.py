"""Un projet django-tenants, dans des processus à lui : ses réglages ne sont pas les nôtres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.services.conftest import service
from tests.services.stack import DEADLINE, ROOT

SCRIPT = """
import django, json
django.setup()
from django.db import connection, transaction
from django_tenants.utils import schema_context, schema_exists
from src.module.accounting.models import LedgerEntry
from src.module.invoicing.models import Invoice
from src.module.invoicing.services import approve_invoice
from src.module.notification.models import Notification
from src.module.tenant.models import Tenant
from src.module.tenant.services import create_tenant
if {outbox}:
    from src.share_kernel.infrastructure.outbox.models import Delivery

def approve(slug, number, email="customer@example.org"):
    tenant = Tenant.objects.get(slug=slug)
    with schema_context(tenant.schema_name):
        invoice = Invoice.objects.create(number=number, customer_email=email, total=1)
        approve_invoice(invoice.pk, tenant_id=str(tenant.pk))

def search_path():
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        return cursor.fetchone()[0]

def tables(schema):
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        return sorted(name for name, in cursor.fetchall())

def contents(*slugs):
    # ledger entries, then notifications
    found = {}
    for slug in slugs:
        with schema_context(slug):
            found[slug] = [
                sorted(LedgerEntry.objects.values_list("invoice_number", flat=True)),
                sorted(
                    subject.split()[1]
                    for subject in Notification.objects.values_list("subject", flat=True)
                    if subject.startswith("Invoice")
                ),
            ]
    return found

def show(value):
    print(json.dumps(value))
"""


@dataclass(frozen=True)
class Project:
    """Les variables d’environnement du projet, et de quoi y exécuter du code."""

    database_url: str
    limit_set_calls: bool

    def manage(self, *args: str) -> str:
        return self._python(str(ROOT / "manage.py"), *args)

    def relay(self) -> str:
        """Livre ce qui est dû, dans un vrai processus."""
        return self.manage("relay_events", "--execute", "--once")

    def settle(self) -> None:
        """Livre jusqu’à ce que rien n’attende plus, essais compris."""
        self.run(
            f"""
            import time
            from src.share_kernel.infrastructure.outbox.relay import relay
            limit = time.monotonic() + {DEADLINE - 5}
            while Delivery.objects.filter(state="pending").exists():
                assert time.monotonic() < limit
                if not relay(execute=True):
                    time.sleep(0.05)
            """
        )

    def run(self, code: str, *, outbox: bool = True) -> Any:
        """Exécute *code* dans un processus du projet ; renvoie ce qu’il passe à ``show``."""
        script = SCRIPT.replace("{outbox}", str(outbox)) + textwrap.dedent(code)
        lines = self._python("-c", script, OUTBOX="1" if outbox else "0").splitlines()
        return json.loads(lines[-1]) if lines else None

    def _python(self, *args: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, *args],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.tenants.settings",
                "DATABASE_URL": self.database_url,
                "BROKER_URL": "",
                "OUTBOX": "1",
                "TEST_LIMIT_SET_CALLS": "1" if self.limit_set_calls else "0",
                "PYTHONPATH": str(ROOT),
                **env,
            },
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["SET each time", "SET if needed"])
def project(request: pytest.FixtureRequest) -> Iterator[Project]:
    """Un projet vide, dans une base à lui ; les deux façons de changer de schéma."""
    url, name = service("POSTGRES_URL"), f"test_tenants_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        project = Project(
            urlsplit(url)._replace(path=f"/{name}").geturl(), request.param == "SET if needed"
        )
        project.manage("migrate_schemas", "--shared", "--run-syncdb", "--verbosity=0")
        yield project
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def two_tenants(project: Project) -> Project:
    """Deux tenants, dont le relais a créé les schémas."""
    project.run("create_tenant('alpha'); create_tenant('beta')")
    project.settle()
    return project
