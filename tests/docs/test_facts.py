"""Les tableaux écrits à la main disent ce que dit le code, ni plus ni moins."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

from src.share_kernel.domain import domain_event
from src.share_kernel.domain.errors import DomainEventError
from src.share_kernel.infrastructure import handling, logs
from src.share_kernel.infrastructure.outbox import delivering, models, relay, status
from src.share_kernel.infrastructure.outbox.management.commands import events_status
from src.share_kernel.infrastructure.outbox.models import Delivery
from src.share_kernel.infrastructure.settings import DEFAULTS

from .pages import DOCS, ROOT

COMMANDS = {
    path.stem: path.relative_to(ROOT).parts[:-3]
    for path in ROOT.glob("src/share_kernel/**/management/commands/[a-z]*.py")
}
MODULES = [
    ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "src" / "share_kernel").rglob("*.py"))
]


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
    text = read("modules/outbox.rst") + read("reference/vie-d-une-livraison.md")

    assert f"Au plus {relay.WINDOW} réveils" in text
    assert "jusqu’à cent lignes" in text
    assert delivering.BATCH == 100
    length = f"{logs.ERROR_LENGTH:,}".replace(",", "\u00a0")
    assert f"tronquée à {length} caractères" in text
    assert "trente secondes" in text
    assert models.CLAIM == 30


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


def test_what_contradicts_a_handler() -> None:
    endings = re.findall(
        r"^\| `(.*?)` \|",
        section(read("reference/erreurs.md"), "UnfinishedHandlerError"),
        re.MULTILINE,
    )
    source = "".join(" ".join(literals(module)) for module in MODULES)

    assert endings
    assert [ending for ending in endings if ending not in source] == []


def literals(module: ast.Module) -> Iterator[str]:
    """Renvoie les textes du module, ceux des messages composés joints bout à bout."""
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(getattr(part, "value", "")) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_other_errors_of_a_delivery() -> None:
    names = re.findall(
        r"^\| `(\w+Error)` \|",
        section(read("reference/erreurs.md"), "Autres exceptions"),
        re.MULTILINE,
    )

    assert set(names) == {
        name for name, item in vars(handling).items()
        if inspect.isclass(item)
        and issubclass(item, DomainEventError)
        and item.__module__ == handling.__name__
    }  # fmt: skip


def test_the_messages_of_the_log() -> None:
    """Chaque message du code a sa ligne, la plus précise qui lui convienne, et réciproquement."""
    rows = re.findall(
        r"^\| ([A-Z]+) \| `(.*?)` \|",
        section(read("reference/erreurs.md"), "Messages du journal"),
        re.MULTILINE,
    )
    used = set()
    for level, message in logged():
        fitting = [row for row in rows if row[0] == level and fits(message, row[1])]
        assert fitting, f"{level} {message}"
        used.add(max(fitting, key=lambda row: len(row[1])))

    assert used == set(rows)


def logged() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        texts = [
            (node.lineno, getattr(node.targets[0], "id", ""), node.value)
            for node in ast.walk(module)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        ]
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                first: Any = node.args[0] if node.args else None
                named = [
                    (line, value)
                    for line, name, value in texts
                    if name == getattr(first, "id", None) and line < node.lineno
                ]
                first = max(named, key=lambda item: item[0])[1] if named else first
                if getattr(node.func.value, "id", "") == "logger" and isinstance(
                    first, ast.Constant
                ):
                    yield node.func.attr.upper(), str(first.value)


def fits(message: str, beginning: str) -> bool:
    pattern = re.escape(beginning.removesuffix(" …")).replace("…", ".*?")
    return re.match(pattern, message) is not None


def test_why_deliveries_wait() -> None:
    text = section(read("reference/commandes.md"), "events_status").partition("| `WHY` |")[2]
    table, _, after = text.partition("\n\n")

    assert tuple(re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)) == status.REASONS
    gauges = [f"share_kernel_{name}" for name, _ in events_status.GAUGES.values()]
    assert re.findall(r"^\| `(share_kernel_.*?)` \|", after, re.MULTILINE) == gauges


def test_the_settings_and_the_variables() -> None:
    text = read("reference/reglages.md")
    conf = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "conf").glob("*.py"))
    read_by_conf = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', conf)) | {"DATABASE_URL"}

    assert re.findall(r"^`([A-Z_]+)`\n: ", text, re.MULTILINE) == list(DEFAULTS)
    documented = set(
        re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\| (`[A-Z].*?) \|", text, re.MULTILINE)))
    )
    assert documented == read_by_conf - {"DJANGO_SETTINGS_MODULE"}
