"""Le projet de référence, un schéma PostgreSQL par tenant."""

import os
from typing import Any, cast

import dj_database_url

from conf.settings import *  # noqa: F403
from conf.settings import EVENT_BUS

SHARED_APPS = [
    "django_tenants",
    "django.contrib.contenttypes",
    "src.share_kernel",
    "src.module.tenant",
    "tests.tenants.customers",
]
if os.environ.get("OUTBOX") == "1":
    SHARED_APPS += ["src.share_kernel.infrastructure.outbox"]  # here only: one register for all
TENANT_APPS = ["src.module.invoicing", "src.module.accounting", "src.module.notification"]
INSTALLED_APPS = SHARED_APPS + TENANT_APPS

DATABASES = {
    "default": dj_database_url.config(
        env="DATABASE_URL", engine="django_tenants.postgresql_backend"
    )
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_MODEL = "customers.Client"
TENANT_LIMIT_SET_CALLS = os.environ.get("TEST_LIMIT_SET_CALLS") == "1"

EVENT_BUS = cast("dict[str, Any]", EVENT_BUS) | {
    "TENANT_CONTEXT": "tests.tenants.schemas.tenant_schema"
}
