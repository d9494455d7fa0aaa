"""La table, telle que ses migrations la font."""

from io import StringIO

import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_the_migrations_make_what_the_model_says() -> None:
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())
