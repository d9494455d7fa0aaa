"""La page « Choisir » : ses quatre codes font la même chose, et le quatrième s’exécute à part."""

import re
import subprocess
from pathlib import Path

from tests.services.conftest import missing

from .pages import DOCS, ROOT, fenced
from .test_comparison import PAGE as COMPARISON
from .test_comparison import versions

PAGE = (DOCS / "explications" / "choisir.md").read_text(encoding="utf-8")
PEER = DOCS / "_data" / "domain-events.txt"
PEERS = ROOT / "build" / "peers" / "bin" / "python"  # made by make build/peers/.ready

RUN = """
import django
from django.conf import settings
from django.core.management import call_command
from importlib.metadata import metadata

settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "django_domain_events", "sales",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
call_command("migrate", verbosity=0)
about = metadata("django-domain-events")
print(about["Version"])
print([name for name in about.get_all("Classifier") if "Alpha" in name], about["Author-email"])
import sales.orders
"""


def test_the_executed_codes_show_the_same_output() -> None:
    outputs = fenced(PAGE, "text")

    assert len(outputs) == 3
    assert len(set(outputs)) == 1


def test_the_only_code_that_the_page_does_not_execute_is_that_of_a_peer() -> None:
    included = re.findall(r"^```\{literalinclude\} (\S+)$", PAGE, re.MULTILINE)

    assert [(DOCS / "explications" / name).resolve() for name in included] == [PEER]


def test_the_versions_are_those_of_the_comparison() -> None:
    assert PAGE.count(versions()["django-domain-events"]) == 2
    assert f"| {versions()['ce bus']}, sans communauté" in PAGE


def test_the_reasons_to_take_another_are_those_of_the_comparison() -> None:
    for reason in (
        "réagir à l’ORM",
        "une application réutilisable offre un point d’extension",
        "l’appelant sait quelle tâche il veut, et peut la perdre",
        "son interface peut changer jusqu’à la version 1.0",
    ):
        assert reason in PAGE.replace("si une application", "une application")
    assert "pour qu’une application réutilisable offre un point d’extension" in COMPARISON
    assert "quand l’appelant sait quelle tâche il veut, et peut la perdre" in COMPARISON


def test_the_code_of_django_domain_events_does_what_the_others_do(tmp_path: Path) -> None:
    if not PEERS.exists():
        missing(f"{PEERS} is missing: run `make build/peers/.ready`")
    shared, expected = fenced(PAGE, "python")[0], fenced(PAGE, "text")[0]
    code = PEER.read_text(encoding="utf-8")
    (tmp_path / "sales").mkdir()
    (tmp_path / "sales" / "__init__.py").touch()
    (tmp_path / "sales" / "orders.py").write_text(f"{shared}\n{code}", encoding="utf-8")

    done = subprocess.run(
        [PEERS, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    version, about, output = done.stdout.split("\n", 2)
    assert version == versions()["django-domain-events"]
    assert "3 - Alpha" in about
    assert about.count("@") == 1  # one author
    assert output.strip() == expected.strip()
