"""Les catalogues de traduction : les mettre à jour, ou refuser qu’ils soient en retard.

``update`` réécrit les catalogues d’après les pages. ``check`` échoue sur tout message non
traduit, flou, périmé ou orphelin, et sur une phrase française laissée en guise de traduction.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import docstrings
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = ROOT / "locale" / "en" / "LC_MESSAGES"
FRENCH = ROOT / "locale" / "fr" / "LC_MESSAGES"
SHOWN = 25  # faults, at most
WIDTH = 90  # characters of a message that are shown
TEMPLATES = Path("sphinx.po")  # strings of the templates: their msgids are English

# What Sphinx extracts although nobody has to translate it: field labels, which each build
# writes in its own language, and the markup of types.
_LABELS = "Paramètres|Type renvoyé|Renvoie|Lève|Exemple|Génère|Yields|Avertissements"
_NOISE = re.compile(rf"^(:sphinx_autodoc_typehints_type:.*|:py:\w+:`[^`]*`|{_LABELS})$", re.DOTALL)

_CODE = re.compile(r"^((?<!`)(`+)[^`]+\2(?!`)[ ,/]*)+$")  # is its own translation

# Words and marks that no English sentence holds.
_FRENCH = re.compile(
    r"\b(le|les|des|un|une|dans|est|sont|qui|avec|pour|vous|cette|événements?)\b|[«»œ]",
    re.IGNORECASE,
)


def extract(folder: Path) -> dict[Path, Catalog]:
    """Extrait les messages des pages et des docstrings, par catalogue."""
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-E", "-b", "gettext",
         "-d", str(folder / "doctrees"), "docs", str(folder / "pot")],
        cwd=ROOT,
        check=True,
        env=os.environ | {"DOCS_LANG": "fr", "SOURCE_DATE_EPOCH": "0", "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    found = {}
    for path in sorted((folder / "pot").rglob("*.pot")):
        with path.open("rb") as file:
            catalog = read_po(file)
        for message in list(catalog):
            if message.id and _NOISE.match(str(message.id)):
                catalog.delete(str(message.id))
        found[path.relative_to(folder / "pot").with_suffix(".po")] = catalog
    shown = {str(m.id) for name in found if name.parts[0] == "modules" for m in found[name]}
    return found | {docstrings.CATALOGUE: docstrings.template(shown)}


def read(path: Path, locale: str) -> Catalog | None:
    """Lit un catalogue versionné, s’il existe."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        return read_po(file, locale=locale)


def target(name: Path) -> tuple[Path, str]:
    """Renvoie le fichier versionné de ce catalogue, et la langue où il traduit."""
    return (FRENCH / name, "fr") if name == TEMPLATES else (ENGLISH / name, "en")


def update(extracted: dict[Path, Catalog]) -> None:
    """Réécrit chaque catalogue dont l’ensemble des messages a changé."""
    for name, template in extracted.items():
        path, locale = target(name)
        catalog = read(path, locale)
        if catalog is None:
            catalog = template
            catalog.locale = locale  # type: ignore[assignment]  # the setter takes a name
        else:
            before = [message.id for message in catalog]
            catalog.update(template, update_header_comment=False)
            catalog.obsolete.clear()
            if before == [message.id for message in catalog]:
                continue
        keep_code(catalog)
        catalog.header_comment = "# Mis à jour par `make traduire`, traduit à la main."
        catalog.fuzzy = False
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalog, width=0, no_location=True, ignore_obsolete=True)
        print(f"updated {path.relative_to(ROOT)}")
    for orphan in orphans(extracted):
        orphan.unlink()
        print(f"removed {orphan.relative_to(ROOT)}")


def keep_code(catalog: Catalog) -> None:
    """Recopie les messages qui ne contiennent que du code."""
    for message in catalog:
        if message.id and _CODE.match(str(message.id)):
            message.string = message.id
            message.flags.discard("fuzzy")


def orphans(extracted: dict[Path, Catalog]) -> list[Path]:
    """Renvoie les catalogues dont la page n’existe plus."""
    expected = {target(name)[0] for name in extracted}
    present = {*ENGLISH.rglob("*.po"), *FRENCH.rglob("*.po")}
    return sorted(present - expected)


def faults(extracted: dict[Path, Catalog]) -> Iterator[str]:
    """Nomme chaque message en retard : fichier, ligne, texte."""
    for name, template in extracted.items():
        path, locale = target(name)
        shown = path.relative_to(ROOT)
        catalog = read(path, locale)
        if catalog is None:
            yield f"{shown}: missing catalogue"
            continue
        wanted = {message.id for message in template if message.id}
        present = {message.id for message in catalog if message.id}
        yield from (f"{shown}: stale, lacks {_short(text)}" for text in sorted(wanted - present))
        for message in catalog:
            if message.id:
                fault = _fault(message, locale, is_wanted=message.id in wanted)
                if fault:
                    yield f"{shown}:{message.lineno}: {fault} {_short(message.id)}"
    for orphan in orphans(extracted):
        yield f"{orphan.relative_to(ROOT)}: orphan, its page no longer exists"


def _fault(message: Message, locale: str, *, is_wanted: bool) -> str | None:
    if not is_wanted:
        return "stale, no page says"
    if message.fuzzy:
        return "fuzzy"
    if not message.string:
        return "untranslated"
    prose = re.sub(r"`[^`]*`", "", str(message.string))
    if locale == "en" and message.string == message.id and _FRENCH.search(prose):
        return "French left as its own translation:"
    return None


def _short(text: object) -> str:
    return repr(textwrap.shorten(str(text), WIDTH, placeholder="…"))


def late(extracted: dict[Path, Catalog] | None = None) -> list[str]:
    """Renvoie toutes les fautes, en extrayant les messages s’ils ne sont pas donnés."""
    if extracted is not None:
        return list(faults(extracted))
    with tempfile.TemporaryDirectory() as folder:
        return list(faults(extract(Path(folder))))


def main(action: str) -> int:
    """Exécute ``update`` ou ``check`` ; renvoie le code de sortie."""
    with tempfile.TemporaryDirectory() as folder:
        extracted = extract(Path(folder))
    if action == "update":
        update(extracted)
    found = late(extracted)
    print(*found[:SHOWN], sep="\n")
    if len(found) > SHOWN:
        print(f"… and {len(found) - SHOWN} more")
    count = sum(len([m for m in catalog if m.id]) for catalog in extracted.values())
    print(f"{count} messages, {len(found)} to translate or update.")
    if found and action == "check":
        print("Run `make traduire`, translate what it leaves empty or fuzzy, then try again.")
    return bool(found) and action == "check"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
