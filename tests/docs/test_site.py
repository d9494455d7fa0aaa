"""Le site construit, lu comme un fichier."""

import re
import unicodedata
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from src.share_kernel import testing
from src.share_kernel.domain import domain_event
from src.share_kernel.infrastructure import event_bus, tasks

from .pages import LANGUAGES, NAMES, SITE, built


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_internal_link_is_broken(language: str) -> None:
    broken = []
    for path in sorted((SITE / language).rglob("*.html")):
        page = path.read_text(encoding="utf-8")
        if path.name == "404.html":
            continue
        for href in re.findall(r'<a [^>]*href="([^"]+)"', page):
            if urlsplit(href).scheme or href.startswith("#"):
                continue
            address, anchor = urldefrag(href)
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.is_file():
                broken.append(f"{path.relative_to(SITE)}: {href}")
            elif anchor and f'id="{anchor}"' not in target.read_text(encoding="utf-8"):
                broken.append(f"{path.relative_to(SITE)}: {href} (no such anchor)")

    assert broken == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_page_names_its_language(language: str, name: str) -> None:
    assert f'<html class="no-js" lang="{language}"' in built(language, name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_public_name_is_documented(language: str) -> None:
    reference = "".join(
        path.read_text(encoding="utf-8") for path in (SITE / language / "modules").glob("*.html")
    )
    for module in (domain_event, event_bus, tasks, testing):
        for name in module.__all__:
            if name != "event_bus":  # an object, told in words
                assert f'id="{module.__name__}.{name}"' in reference, name


def test_no_build_leftover_is_published() -> None:
    assert not [path for path in SITE.rglob("*") if path.name in {".doctrees", "conf.py"}]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_theme_speaks_the_language_of_the_page(language: str) -> None:
    page = built(language, "modules/event_bus")
    words = {"fr": ["Haut de page", "Suivant"], "en": ["Back to top", "Next"]}

    for word in words[language]:
        assert word in page


def test_the_pages_are_light() -> None:
    import gzip

    for path in sorted(SITE.rglob("modules/*.html")):
        assert len(gzip.compress(path.read_bytes())) < 20_000, path


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_glossary_is_in_the_order_of_its_language(language: str) -> None:
    terms = re.findall(r'<dt id="term-[^>]*>([^<]*)', built(language, "glossaire"))
    plain = [unicodedata.normalize("NFD", term).lower().replace("\u0301", "") for term in terms]
    assert len(plain) > 20
    assert plain == sorted(plain)
