"""Chaque bouton « Exécuter » de chaque page, pressé dans un vrai navigateur, avec les en-têtes du site."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.docs.pages import LANGUAGES, NAMES, SITE
from tests.services.conftest import missing

from .test_headers import REMEMBER, refused

START = 20_000  # ms: what starts Python on a busy machine
SAME = re.compile(
    "A affiché exactement ce que la page montre|Exécuté\u00a0: rien à afficher"
    "|Printed exactly what the page shows|Run: nothing to show"
)


def has_blocks(name: str) -> bool:
    return '<div class="live ' in (SITE / name).read_text("utf-8")


PAGES = [
    f"{language}/{name}.html"
    for language in LANGUAGES
    for name in NAMES
    if (language == "fr" or name == "modules/event_bus") and has_blocks(f"{language}/{name}.html")
]


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    if not (SITE / "engine" / "manifest.json").exists():
        missing("the engine of the pages: `make site` says why it could not be made")


@pytest.fixture(scope="module")
def live(chromium: Browser, hosted: str) -> Iterator[Page]:
    """Une page pour tout le fichier : le moteur est téléchargé une fois, et gardé en cache."""
    context = chromium.new_context(base_url=hosted, locale="fr-FR", reduced_motion="reduce")
    context.add_init_script(REMEMBER)
    yield context.new_page()
    context.close()


def press(box: Locator) -> Locator:
    """Presse le bouton d’un bloc ; renvoie ce que le bloc en dit, une fois fini."""
    box.locator(".live-bar button").first.click()
    status = box.locator(".live-bar:not(.live-busy) .live-status")
    expect(status).to_have_text(re.compile("."), timeout=START)
    return status


@pytest.mark.parametrize("name", PAGES)
def test_every_block_prints_what_its_page_shows(live: Page, hosted: str, name: str) -> None:
    asked: list[str] = []
    live.on("request", lambda request: asked.append(request.url))
    live.goto(f"/{name}")
    before = [url for url in asked if "/engine/" in url or "live-" in url]
    boxes = live.locator("div.live").all()

    for box in boxes:
        expect(press(box)).to_have_text(SAME)

    assert boxes
    assert before == []
    assert [url for url in asked if not url.startswith((hosted, "data:"))] == []
    assert refused(live) == []
