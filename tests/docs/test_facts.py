"""Les tableaux écrits à la main disent ce que dit le code, ni plus ni moins."""

import inspect
import re

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

from src.share_kernel.domain import domain_event
from src.share_kernel.domain.errors import DomainEventError
from src.share_kernel.infrastructure.logs import ERROR_LENGTH
from src.share_kernel.infrastructure.outbox import relay
from src.share_kernel.infrastructure.outbox.models import CLAIM, Delivery
from src.share_kernel.infrastructure.settings import DEFAULTS

from .pages import DOCS, ROOT

COMMANDS = {
    path.stem: path.relative_to(ROOT).parts[:-3]
    for path in ROOT.glob("src/share_kernel/**/management/commands/[a-z]*.py")
}


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return re.split(r"^## ", text.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


def options(command: BaseCommand) -> set[str]:
    """Renvoie les options propres à une commande, sans celles de toutes les autres."""
    parser, plain = command.create_parser("manage.py", "x"), BaseCommand().create_parser("m", "x")
    mine = {text for action in parser._actions for text in action.option_strings}
    return mine - {text for action in plain._actions for text in action.option_strings}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_options_of_a_command(name: str) -> None:
    text = read("reference/commandes.md")
    documented = set(re.findall(r"^\| `(--[\w-]+)", section(text, name), re.MULTILINE))
    if "outbox" in COMMANDS[name]:
        documented.add("--database")  # said once for all

    assert documented == options(load_command_class(".".join(COMMANDS[name]), name))


def test_every_command_is_listed() -> None:
    assert set(re.findall(r"^## (\w+)$", read("reference/commandes.md"), re.MULTILINE)) == set(
        COMMANDS
    )


def test_the_default_age_of_what_is_pruned() -> None:
    parser = load_command_class("src.share_kernel.infrastructure.outbox", "prune_events")
    (days,) = re.findall(
        r"depuis au moins tant de jours, (\d+) par", read("reference/commandes.md")
    )

    assert parser.create_parser("manage.py", "x").get_default("days") == int(days)


def test_the_fields_and_states_of_a_delivery() -> None:
    text = read("modules/outbox.rst")
    fields, states = text.split("États\n", maxsplit=1)
    first_cells = re.findall(r"^   \* - (``.*``)$", fields, re.MULTILINE)

    names = {name for cell in first_cells for name in re.findall(r"``(\w+)``", cell)}
    assert names == {field.name for field in Delivery._meta.get_fields()}
    assert set(re.findall(r"^   \* - ``(\w+)``$", states, re.MULTILINE)) == set(
        Delivery.State.values
    )


def test_the_figures_of_the_register() -> None:
    text = read("modules/outbox.rst")

    assert f"Au plus {relay.WINDOW} réveils" in text
    length = f"{ERROR_LENGTH:,}".replace(",", "\u00a0")
    assert f"tronquée à {length} caractères" in text
    assert "trente secondes" in text
    assert CLAIM == 30


def test_the_system_checks() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("checks.py"))
    rows = re.findall(
        r"^\| `(share_kernel\.[EW]\d+)`", read("reference/verifications.md"), re.MULTILINE
    )

    assert rows == sorted(set(re.findall(r"share_kernel\.[EW]\d{3}", source)))


def test_the_errors() -> None:
    text = read("reference/erreurs.md")
    errors = {
        name for name in domain_event.__all__
        if inspect.isclass(getattr(domain_event, name))
        and issubclass(getattr(domain_event, name), Exception)
    } - {DomainEventError.__name__}  # fmt: skip

    assert (
        set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| \[(.*?)\]", text, re.MULTILINE))))
        == errors
    )


def test_the_settings_and_the_variables() -> None:
    text = read("reference/reglages.md")
    conf = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "conf").glob("*.py"))
    read_by_conf = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', conf)) | {"DATABASE_URL"}

    assert re.findall(r"^`([A-Z_]+)`\n: ", text, re.MULTILINE) == list(DEFAULTS)
    documented = set(
        re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\| (`[A-Z].*?) \|", text, re.MULTILINE)))
    )
    assert documented == read_by_conf - {"DJANGO_SETTINGS_MODULE"}
