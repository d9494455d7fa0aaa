"""Les réglages des tests, avec le registre branché et de quoi servir l’administration."""

from tests.settings import *  # noqa: F403  (settings extend other settings)
from tests.settings import INSTALLED_APPS, MIDDLEWARE

DEBUG = True  # the static files of the administration are served by runserver
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.staticfiles", "tests.browser.administration"]
MIDDLEWARE = [*MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
MIDDLEWARE.insert(1, MIDDLEWARE.pop())  # after the session, before who is logged in
TIME_ZONE = "Europe/Paris"
