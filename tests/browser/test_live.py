"""Chaque bouton « Exécuter », pressé dans un vrai navigateur, avec les en-têtes du site."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.docs.pages import LANGUAGES, NAMES, SITE
from tests.services.conftest import missing

from .test_access import axe
from .test_headers import REMEMBER, refused

START = 60_000  # ms: what starts Python on a busy machine
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
    """Une page pour tout le fichier : le moteur est téléchargé une fois, et gardé en cache."""
    context = chromium.new_context(base_url=hosted, locale="fr-FR", reduced_motion="reduce")
    context.add_init_script(REMEMBER)
    yield context.new_page()
    context.close()


def press(box: Locator) -> Locator:
    """Presse le bouton d’un bloc ; renvoie ce que le bloc en dit, une fois fini."""
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


TUTORIAL = "fr/tutoriel/facture-approuvee.html"


@pytest.fixture
def tutorial(live: Page) -> Page:
    live.goto(f"/{TUTORIAL}")
    return live


def box(page: Page, position: int = 0) -> Locator:
    return page.locator("div.live").nth(position)


def result(page: Page, position: int = 0) -> Locator:
    return page.locator(".live-result").nth(position)


def says(status: Locator, text: str) -> None:
    expect(status).to_have_text(text, timeout=START)


def edited(page: Page, code: str, position: int = 0) -> Locator:
    """Remplace le code d’un bloc et l’exécute, au clavier seul ; renvoie ce qu’il en dit."""
    press(box(page, position))
    edit = box(page, position).get_by_role("button", name="Modifier")
    field = page.get_by_label("Code du bloc")
    if edit.is_visible():
        edit.press("Enter")
        expect(field).to_be_focused()
    field.fill(code)
    field.press("Control+Enter")
    return box(page, position).locator(".live-status")


def test_what_happened_is_told_as_nested_lists(tutorial: Page) -> None:
    last = tutorial.locator("div.live").count() - 1

    press(box(tutorial, last))

    told = tutorial.get_by_role("group").filter(has_text="Ce qui s’est passé").last
    expect(told.get_by_role("listitem").first).to_contain_text("transaction annulée")
    assert [item.split("\n")[0] for item in told.get_by_role("listitem").all_inner_texts()] == [
        "transaction annulée",
        "publie invoice.approved",
        "jamais appelé send_approval_email",
        "handler synchrone update_accounting_cache",
        "handler synchrone check_credit",
        "lève ValueError",
    ]


def test_other_output_is_shown_beside_that_of_the_page_until_reset(tutorial: Page) -> None:
    says(edited(tutorial, "print('two', 1 + 1)"), "Exécuté, avec vos changements")
    expect(result(tutorial).locator("pre")).to_have_text("two 2\n")

    box(tutorial).get_by_role("button", name="Rétablir").press("Enter")

    expect(result(tutorial)).to_be_empty()
    expect(box(tutorial).get_by_role("button", name="Exécuter")).to_be_focused()
    expect(press(box(tutorial))).to_have_text(SAME)


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        ("x = 1\nx / 0", "Erreur à la ligne 2", "ZeroDivisionError: division by zero"),
        ("x = 1\n\nx =", "Erreur à la ligne 3", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)", "Erreur à la ligne 2", "SystemExit: 3"),
        ("def f():\n    return missing\nf()", "Erreur à la ligne 2", "NameError"),
    ],
)
def test_an_error_shows_the_line_of_the_reader(
    tutorial: Page, code: str, line: str, message: str
) -> None:
    says(edited(tutorial, code), line)

    expect(result(tutorial).locator(".live-error")).to_contain_text(message)
    trace = result(tutorial).locator("details")
    assert trace.get_attribute("open") is None
    trace.locator("summary").press("Enter")
    expect(trace.locator("pre")).to_contain_text("Traceback (most recent call last)")


def test_a_block_whose_block_above_fails_says_which(tutorial: Page) -> None:
    says(edited(tutorial, "1 / 0"), "Erreur à la ligne 1")

    expect(press(box(tutorial, 1))).to_have_text("Le bloc 1, plus haut, a échoué")


def test_stop_frees_an_endless_loop(tutorial: Page) -> None:
    status = edited(tutorial, "while True:\n    pass")
    expect(status).to_have_text("En cours…")

    box(tutorial).get_by_role("button", name="Arrêter").press("Enter")

    expect(status).to_have_text("Arrêté")
    expect(box(tutorial).get_by_role("button", name="Exécuter")).to_be_focused()
    box(tutorial).get_by_role("button", name="Rétablir").click()
    expect(press(box(tutorial))).to_have_text(SAME)


def test_a_run_leaves_nothing_to_the_next(tutorial: Page) -> None:
    code = (
        "from src.module.tenant.models import Tenant\n"
        "from django.db import transaction\n"
        "transaction.atomic().__enter__()\n"
        "Tenant.objects.create(slug='a', schema_name='a')\n"
        "print(Tenant.objects.count())"
    )
    for _ in range(2):
        says(edited(tutorial, code), "Exécuté, avec vos changements")
        expect(result(tutorial).locator("pre").first).to_have_text("1\n")


@pytest.mark.parametrize("lost", ["manifest.json", "python.bin", "project.*.bin"])
def test_a_file_that_is_missing_is_told_and_asked_again(tutorial: Page, lost: str) -> None:
    address = f"**/engine/**{lost}"
    tutorial.context.route(address, lambda route: route.fulfill(status=404))
    try:
        expect(press(box(tutorial))).to_have_text(re.compile("n’a pas pu démarrer.* 404"))
    finally:
        tutorial.context.unroute(address)

    expect(press(box(tutorial))).to_have_text(SAME)


@pytest.mark.parametrize("lost", ["**/live.css", "**/live-page.js"])
def test_the_script_that_is_missing_is_told_and_asked_again(tutorial: Page, lost: str) -> None:
    tutorial.context.route(lost, lambda route: route.fulfill(status=404))
    box(tutorial).get_by_role("button", name="Exécuter").click()
    expect(box(tutorial)).to_contain_text("n’a pas pu être chargé")
    tutorial.context.unroute(lost)

    expect(press(box(tutorial))).to_have_text(SAME)


def test_the_reader_s_package_is_mapped_back(tutorial: Page) -> None:
    tutorial.evaluate("localStorage.setItem('share_kernel.package', 'acme.common')")
    try:
        tutorial.goto(f"/{TUTORIAL}")
        expect(box(tutorial)).to_contain_text("from acme.common.share_kernel.domain")
        expect(press(box(tutorial))).to_have_text(SAME)
        code = "from acme.common.share_kernel.domain import payload\nprint(payload)"
        says(edited(tutorial, code), "Exécuté, avec vos changements")
        expect(result(tutorial).locator("pre").first).to_contain_text(
            "'acme.common.share_kernel.domain.payload'"
        )
    finally:
        tutorial.evaluate("localStorage.clear()")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_out_of_reach_after_a_run(tutorial: Page, theme: Any) -> None:
    tutorial.set_viewport_size({"width": 360, "height": 800})
    tutorial.emulate_media(color_scheme=theme)
    press(box(tutorial, tutorial.locator("div.live").count() - 1))
    says(edited(tutorial, "1 / 0"), "Erreur à la ligne 1")

    assert axe(tutorial, within="article") == []
    assert tutorial.evaluate("document.documentElement.scrollWidth") <= 360
    small = [item.bounding_box() for item in tutorial.locator(".live-bar button:visible").all()]
    assert all(item and item["height"] >= 24 for item in small)


def test_without_scripts_the_page_is_what_it_was(chromium: Browser, hosted: str) -> None:
    context = chromium.new_context(base_url=hosted, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/{TUTORIAL}")

    expect(page.locator(".live-bar")).to_have_count(0)
    expect(box(page)).to_contain_text("InvoiceApproved")
    context.close()
