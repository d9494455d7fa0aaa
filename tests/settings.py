"""Le projet de référence, avec le registre, l’administration et la boutique des tests.

Le registre est installé mais débranché : un test ou une page le branche s’il en parle.
"""

import dj_database_url

from conf.settings import *  # noqa: F403
from conf.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "src.share_kernel.infrastructure.outbox",
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.sessions",
]
# A second database, for the tests that name one.
DATABASES["other"] = dj_database_url.parse("sqlite://:memory:")
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["other"]["OPTIONS"] = DATABASES["default"]["OPTIONS"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
