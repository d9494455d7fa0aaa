"""Les réglages que montre *Brancher Celery*, posés dans un projet tout neuf."""

from pathlib import Path

import pytest

from .new_project import NewProject
from .pages import DOCS, fenced

PAGE = (DOCS / "guides" / "brancher-celery.md").read_text("utf-8")
REDIS, RABBITMQ, APPLICATION = fenced(PAGE, "python")
IMPORT = "from .celery import app as celery_app"
assert f"`{IMPORT}`" in PAGE
LONE = """
from celery import Celery
app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""


@pytest.fixture
def project(tmp_path: Path) -> NewProject:
    project = NewProject(tmp_path)
    project.sh("python share_kernel.zip src/share_kernel")
    project.add_settings("INSTALLED_APPS += ['src.share_kernel']")
    return project


def checked(project: NewProject) -> str:
    return project.sh("python manage.py check --fail-level WARNING 2>&1 || true")


@pytest.mark.parametrize("settings", [REDIS, RABBITMQ], ids=["redis", "rabbitmq"])
def test_a_new_application_is_complete(project: NewProject, settings: str) -> None:
    project.write("myproject/celery.py", APPLICATION.replace("mysite", "myproject"))
    project.write("myproject/__init__.py", IMPORT)
    project.add_settings(settings)

    assert "no issues" in checked(project)
    seen = project.sh("python manage.py shell", stdin=SEEN)
    assert seen.splitlines()[-1] == "True ['json'] 1"


SEEN = """
from celery import current_app
from src.share_kernel.infrastructure import broker
conf = current_app.conf
print(broker.is_available(), conf.accept_content, conf.broker_connection_timeout)
"""


@pytest.mark.parametrize("settings", [REDIS, RABBITMQ], ids=["redis", "rabbitmq"])
def test_an_application_of_the_reader_takes_them_too(project: NewProject, settings: str) -> None:
    project.write("myproject/celery_app.py", LONE)
    project.write("myproject/__init__.py", "from . import celery_app\n")
    address = next(line for line in settings.splitlines() if line.startswith("CELERY_BROKER_URL"))
    project.add_settings(address)

    assert "share_kernel.W002" in checked(project)

    project.add_settings(settings)
    assert "no issues" in checked(project)


def test_without_the_import_the_web_does_not_see_the_broker(project: NewProject) -> None:
    project.write("myproject/celery.py", APPLICATION.replace("mysite", "myproject"))
    project.add_settings(REDIS)

    assert "share_kernel.W001" in checked(project)
