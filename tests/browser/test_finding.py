"""Le lecteur sait où il est, et où aller : navigation, fil d’Ariane, version, page 404."""

import re

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.docs.pages import LANGUAGES

from .screens import DESKTOP, PHONE

# A deep page, and the ways down to it.
DEEP = [
    ("fr", "guides/tester", ["Faire"], "Tester"),
    ("fr", "modules/event_bus", ["Consulter", "Modules"], "Bus d’Événements Domaine"),
    ("fr", "glossaire", ["Consulter"], "Glossaire"),
    ("fr", "decisions/0009-executer-ici-quand-le-broker-manque", ["Comprendre", "Décisions"],
     "0009. Exécuter ici quand le broker manque"),
    ("fr", "guides/index", [], "Faire"),
    ("en", "explications/comparaison", ["Explanations"], "Comparison"),
    ("en", "journal", ["Reference"], "Changelog"),
    ("en", "tutoriel/avec-un-worker", ["Tutorial"], "With a worker"),
]  # fmt: skip
OPENED = """() => [...document.querySelectorAll(".sidebar-tree .toctree-checkbox:checked")]
    .map((box) => box.parentElement.querySelector("a").textContent)"""
HOME = {"fr": "Accueil", "en": "Home"}


@pytest.fixture(autouse=True)
def _desktop(reader: Page) -> None:
    reader.set_viewport_size(DESKTOP)


@pytest.mark.parametrize(("language", "name", "above", "title"), DEEP)
def test_the_navigation_opens_on_the_page_and_folds_the_rest(
    reader: Page, language: str, name: str, above: list[str], title: str
) -> None:
    reader.goto(f"/{language}/{name}.html")

    current = reader.locator(".sidebar-tree .current-page > a")
    expect(current).to_have_text(title)
    expect(current).to_be_in_viewport(ratio=1)
    assert reader.evaluate(OPENED) in (above, [*above, title])
    assert reader.locator(".sidebar-tree .toctree-l1 > a:visible").count() == 5


@pytest.mark.parametrize(("language", "name", "above", "title"), DEEP)
def test_the_breadcrumb_leads_up_to_the_home_page(
    reader: Page, address: str, language: str, name: str, above: list[str], title: str
) -> None:
    reader.goto(f"/{language}/{name}.html")
    named = {"fr": "Fil d’Ariane", "en": "Breadcrumb"}[language]
    breadcrumb = reader.get_by_role("navigation", name=named)

    links = breadcrumb.get_by_role("link")
    assert links.all_inner_texts() == [HOME[language], *above]
    expect(breadcrumb.locator("[aria-current=page]")).to_have_text(title)
    top = breadcrumb.bounding_box()
    heading = reader.locator("h1").bounding_box()
    assert top
    assert heading
    assert top["y"] + top["height"] <= heading["y"]

    while breadcrumb.count():
        links.last.click()
    expect(reader).to_have_url(f"{address}/{language}/index.html")


def test_the_home_page_has_no_breadcrumb(reader: Page) -> None:
    reader.goto("/fr/index.html")

    expect(reader.locator(".breadcrumb")).to_have_count(0)


@pytest.mark.parametrize(
    "folder",
    ["tutoriel", "guides", "modules", "reference", "explications", "decisions", "contribuer"],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_address_cut_at_its_folder_lists_what_is_in_it(
    reader: Page, language: str, folder: str
) -> None:
    answer = reader.goto(f"/{language}/{folder}/")

    assert answer
    assert answer.ok
    links = reader.locator("article a.internal")
    assert links.count() >= 3
    for line in reader.locator("article li:has(a.internal)").all_inner_texts():
        assert folder == "decisions" or re.search(r"[\w…]\s?: \w", line), line


@pytest.mark.parametrize(("language", "licence"), [("fr", "Licence MIT"), ("en", "MIT License")])
def test_the_version_leads_to_what_changed(reader: Page, language: str, licence: str) -> None:
    from src.share_kernel.version import __version__

    reader.goto(f"/{language}/guides/tester.html")
    about = reader.locator(".sidebar-drawer .about")
    expect(about).to_be_in_viewport(ratio=1)
    expect(about).to_contain_text(licence)

    about.get_by_role("link", name=f"Version {__version__}").click()

    expect(reader).to_have_url(re.compile(f"/{language}/journal.html$"))
    expect(reader.locator("article")).to_contain_text(f"[{__version__}]")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_that_does_not_exist_leads_to_the_others(
    reader: Page, address: str, language: str
) -> None:
    reader.goto(f"/{language}/a/b/nowhere.html")
    ways = reader.locator("article .ways")

    assert ways.get_by_role("link").count() == 7
    for link in ways.get_by_role("link").all():
        href = link.get_attribute("href") or ""
        assert reader.request.get(f"{address}{href}").ok, href
    reader.locator("article input[name=q]").fill("idempotent")
    reader.keyboard.press("Enter")

    expect(reader).to_have_url(re.compile(rf"/{language}/search\.html\?q=idempotent"))
    expect(reader.locator("#search-results ul.search > li").first).to_be_visible()


def test_the_page_of_the_root_leads_to_both_languages(reader: Page, address: str) -> None:
    reader.goto("/404.html")

    for language, section in (("fr", "Faire"), ("en", "How-to guides")):
        link = reader.get_by_role("link", name=section, exact=True)
        expect(link).to_have_attribute("href", f"/{language}/guides/index.html")


@pytest.mark.parametrize("keys", ["Control+k", "Meta+k", "/"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_ctrl_k_focuses_the_search(reader: Page, keys: str, size: ViewportSize) -> None:
    reader.set_viewport_size(size)
    reader.goto("/fr/guides/tester.html")

    reader.keyboard.press(keys)

    expect(reader.locator(".sidebar-search")).to_be_focused()
    expect(reader.locator(".sidebar-search")).to_be_in_viewport(ratio=1)


def test_one_finds_the_way_without_javascript(chromium: Browser, address: str) -> None:
    context = chromium.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/fr/guides/tester.html")

    expect(page.locator(".sidebar-tree .current-page > a")).to_be_visible()
    expect(page.locator(".sidebar-tree a[href$='transactions.html']")).to_be_hidden()
    page.locator(".breadcrumb a").last.click()

    expect(page).to_have_url(f"{address}/fr/guides/index.html")
    context.close()
