"""Les libellés du paquet : chacun a sa traduction française, et Django la lit."""

import ast
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.db.models import Model
from django.utils import translation

from src import share_kernel
from src.share_kernel.infrastructure.outbox.models import Delivery

PACKAGE = Path(*share_kernel.__path__)
FRENCH = PACKAGE / "locale" / "fr" / "LC_MESSAGES" / "django.po"
FUNCTIONS = {"_": 1, "pgettext_lazy": 2}  # how many of their arguments name a text

Texts = set[tuple[str | None, str]]  # context, text


def texts_of(catalog: Catalog) -> Texts:
    return {(message.context, str(message.id)) for message in catalog if message.id}


def strings_of(catalog: Catalog) -> dict[tuple[str | None, str], str]:
    return {
        # Babel reads the contexts of a compiled catalogue as bytes.
        (message.context and str(message.context).strip("b'"), str(message.id)): str(message.string)
        for message in catalog
        if message.id
    }


def texts_of_the_code() -> Texts:
    found: Texts = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in FUNCTIONS:
                texts = [item.value for item in node.args if isinstance(item, ast.Constant)]
                if len(texts) == FUNCTIONS[name]:
                    *context, text = map(str, texts)
                    found.add((context[0] if context else None, text))
    return found


def names_of_the_fields(model: type[Model]) -> Texts:
    """Ceux que Django tire du nom d’un champ, et que l’administration traduit."""
    return {("share_kernel", field.name.replace("_", " ")) for field in model._meta.fields}


def test_each_is_translated_and_none_is_left_over() -> None:
    with FRENCH.open("rb") as file:
        catalog = read_po(file, locale="fr")

    assert texts_of(catalog) == texts_of_the_code() | names_of_the_fields(Delivery)
    assert [message.id for message in catalog if message.fuzzy or not message.string] == []


def test_the_compiled_catalogue_is_that_of_the_text() -> None:
    with FRENCH.open("rb") as text, FRENCH.with_suffix(".mo").open("rb") as compiled:
        expected, found = read_po(text, locale="fr"), read_mo(compiled)

    assert strings_of(found) == strings_of(expected), (
        f"Compile it again: the first line of {FRENCH.name} says how."
    )


def test_django_reads_it() -> None:
    with translation.override("fr"):
        assert str(Delivery.State.HOLDING.label) == "abandonnée, retient sa clé"
        assert Delivery._meta.verbose_name_plural == "livraisons"
    with translation.override("en"):
        assert str(Delivery.State.HOLDING.label) == "dead, holds its key back"
        assert Delivery._meta.verbose_name_plural == "deliveries"
