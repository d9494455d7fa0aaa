"""Le site au clavier seul : la touche Tab, Entrée, Échap et les flèches."""

import re

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.docs.pages import KINDS, LANGUAGES, address_of

from .contrast import with_contrast
from .screens import DESKTOP, PHONE, Theme

# Each element that Tab stops at, focused in turn; what is wrong with the mark it then shows.
UNMARKED = with_contrast("""() => {
    const faults = [];
    let seen = 0;
    for (const node of document.querySelectorAll("a[href], button, input, [tabindex='0']")) {
        if (!node.checkVisibility({visibilityProperty: true})) continue;
        node.focus();
        if (document.activeElement !== node) continue;
        seen += 1;
        const marked = node.matches(".toctree-checkbox") ? node.nextElementSibling : node;
        const style = getComputedStyle(marked);
        const shown = marked.checkVisibility({opacityProperty: true}) &&
            style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
        const inside = parseFloat(style.outlineOffset) < 0;
        const ratio = contrast(style.outlineColor, ground(inside ? marked : marked.parentElement));
        const name = `${node.outerHTML.slice(0, 90)} ${ratio.toFixed(1)}:1`;
        if (!shown || ratio < 3) faults.push(name);
    }
    return [seen, faults];
}""")
OUT_OF_SIGHT = """() => {
    const node = document.activeElement;
    const box = (node.matches(".toctree-checkbox") ? node.nextElementSibling : node)
        .getBoundingClientRect();
    const seen = node.checkVisibility({visibilityProperty: true}) && box.width && box.height &&
        box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
    return seen || node === document.body ? "" : node.outerHTML.slice(0, 90);
}"""


def tab_to(page: Page, selector: str, at_most: int = 120) -> None:
    for _ in range(at_most):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{at_most} Tabs do not reach {selector}")


@pytest.fixture(autouse=True)
def _desktop(reader: Page) -> None:
    reader.set_viewport_size(DESKTOP)
    reader.emulate_media(color_scheme="light")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_tab_skips_to_the_content(
    reader: Page, language: str, size: ViewportSize
) -> None:
    reader.set_viewport_size(size)
    reader.goto(f"/{language}/guides/tester.html")

    reader.keyboard.press("Tab")
    expect(reader.locator(".skip-to-content")).to_be_focused()
    expect(reader.locator(".skip-to-content")).to_be_in_viewport(ratio=1)
    reader.keyboard.press("Enter")
    reader.keyboard.press("Tab")

    assert reader.evaluate("document.activeElement.closest('article') !== null")


@pytest.mark.parametrize(("language", "other"), [("fr", "en"), ("en", "fr")])
def test_the_switcher_keeps_the_section(
    reader: Page, address: str, language: str, other: str
) -> None:
    reader.goto(f"/{language}/guides/tester.html#avec-pytest")

    tab_to(reader, ".skip-to-content")
    tab_to(reader, ".languages a")
    reader.keyboard.press("Enter")

    expect(reader).to_have_url(f"{address}/{other}/guides/tester.html#avec-pytest")
    assert reader.locator("#avec-pytest").count() == 1


def test_the_switcher_follows_the_section_chosen_since(reader: Page, address: str) -> None:
    reader.goto("/fr/guides/tester.html")
    reader.goto("/fr/guides/tester.html#avec-pytest")  # the same document: nothing is loaded

    link = reader.get_by_role("link", name="English")

    expect(link).to_have_attribute("href", re.compile(r"/en/guides/tester\.html#avec-pytest$"))


@pytest.mark.parametrize(("language", "words"), [("fr", "idempotente"), ("en", "idempotent")])
def test_a_search_leads_to_its_page(reader: Page, address: str, language: str, words: str) -> None:
    reader.goto(f"/{language}/index.html")

    tab_to(reader, ".sidebar-search")
    reader.keyboard.type(words)
    reader.keyboard.press("Enter")
    expect(reader.locator("#search-results ul.search > li > a").first).to_be_visible()
    tab_to(reader, "#search-results a[href*='rendre-idempotent']")
    reader.keyboard.press("Enter")

    expect(reader).to_have_url(re.compile(rf"{address}/{language}/guides/rendre-idempotent\.html"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_copy_button_works_and_says_so(reader: Page, language: str) -> None:
    reader.goto(f"/{language}/guides/tester.html")
    reader.locator(".copybtn").first.wait_for(state="attached")

    tab_to(reader, ".copybtn")
    button = reader.locator(".copybtn").first
    expect(button).to_have_css("opacity", "1")
    reader.keyboard.press("Enter")

    expect(reader.get_by_role("status")).to_have_text({"fr": "Copié !", "en": "Copied!"}[language])
    copied = reader.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("from decimal import Decimal\n")
    expect(button).to_be_focused()  # the next Tab goes on from here


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_theme_is_changed(reader: Page, size: ViewportSize) -> None:
    reader.set_viewport_size(size)
    reader.goto("/fr/guides/tester.html")

    tab_to(reader, ".theme-toggle")
    reader.keyboard.press("Enter")

    expect(reader.locator("body")).to_have_attribute("data-theme", "dark")
    reader.evaluate("localStorage.removeItem('theme')")


@pytest.mark.parametrize(
    ("language", "name"),
    [("fr", "Afficher ou masquer la navigation"), ("en", "Show or hide the navigation")],
)
def test_the_menu_opens_and_closes_on_a_phone(reader: Page, language: str, name: str) -> None:
    reader.set_viewport_size(PHONE)
    reader.goto(f"/{language}/guides/tester.html")
    button = reader.get_by_role("button", name=name)
    drawer = reader.locator(".sidebar-drawer")
    expect(drawer).to_be_hidden()

    tab_to(reader, "button.nav-overlay-icon", 3)
    expect(button).to_have_attribute("aria-expanded", "false")
    reader.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(drawer).to_be_in_viewport(ratio=1)
    tab_to(reader, ".sidebar-brand", 1)

    reader.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(button).to_be_focused()

    reader.keyboard.press("Space")
    tab_to(reader, ".sidebar-drawer a[href$='publier-en-lot.html']")
    reader.keyboard.press("Enter")
    expect(reader).to_have_url(re.compile("publier-en-lot"))


def test_the_table_of_contents_opens_on_a_phone(reader: Page) -> None:
    reader.set_viewport_size(PHONE)
    reader.goto("/fr/guides/tester.html")

    tab_to(reader, "button.toc-header-icon", 6)
    reader.keyboard.press("Enter")
    tab_to(reader, ".toc-drawer a[href='#avec-pytest']", 3)
    reader.keyboard.press("Enter")

    expect(reader).to_have_url(re.compile("#avec-pytest$"))
    expect(reader.locator(".toc-drawer")).to_be_hidden()
    expect(reader.locator("#avec-pytest")).to_be_in_viewport()


def test_a_drawer_closes_when_the_focus_leaves_it(reader: Page) -> None:
    reader.set_viewport_size(PHONE)
    reader.goto("/fr/guides/tester.html")
    tab_to(reader, "button.nav-overlay-icon", 3)
    reader.keyboard.press("Enter")

    tab_to(reader, "article a, .languages a")

    expect(reader.locator(".sidebar-drawer")).to_be_hidden()


def test_a_group_of_pages_unfolds(reader: Page) -> None:
    reader.goto("/fr/index.html")
    inner = reader.locator(".sidebar-tree .toctree-l2").first
    expect(inner).to_be_hidden()

    tab_to(reader, ".toctree-checkbox")
    reader.keyboard.press("Enter")

    expect(inner).to_be_visible()
    name = reader.locator(".toctree-checkbox").first.get_attribute("aria-label")
    assert name == "Afficher ou masquer les pages de la section Apprendre"


def test_wide_code_scrolls_with_the_arrows(reader: Page) -> None:
    reader.set_viewport_size(PHONE)
    reader.goto("/fr/guides/tester.html")

    tab_to(reader, "pre")
    reader.keyboard.press("ArrowRight")

    reader.wait_for_function("document.activeElement.scrollLeft > 0")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["guides/tester", "modules/event_bus"])
def test_every_stop_is_in_sight(reader: Page, name: str, size: ViewportSize) -> None:
    reader.set_viewport_size(size)
    reader.goto(f"/fr/{name}.html")
    hidden = []
    stops = 0
    while stops < 400:
        reader.keyboard.press("Tab")
        stops += 1
        if reader.evaluate("document.activeElement === document.body"):
            break
        hidden.append(reader.evaluate(OUT_OF_SIGHT))

    assert 10 < stops < 400
    assert [stop for stop in hidden if stop] == []


def test_the_header_of_a_phone_covers_no_stop(reader: Page) -> None:
    """En remontant la page, ce qui prend le focus arrive par le haut, où se tient l’en-tête."""
    reader.set_viewport_size(PHONE)
    reader.goto("/fr/modules/event_bus.html")
    reader.locator("footer a").last.focus()
    covered = []
    for _ in range(150):
        reader.keyboard.press("Shift+Tab")
        covered.append(
            reader.evaluate("""() => {
                const node = document.activeElement, box = node.getBoundingClientRect();
                const header = document.querySelector(".mobile-header").getBoundingClientRect();
                const covered = node.closest("article") && box.top < header.bottom;
                return covered && box.height < 500 ? node.outerHTML.slice(0, 90) : "";
            }""")
        )
    assert reader.evaluate("scrollY") < reader.evaluate("document.body.scrollHeight") / 2

    assert [stop for stop in covered if stop] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_has_the_focus_shows_it(reader: Page, language: str, name: str, theme: Theme) -> None:
    reader.emulate_media(color_scheme=theme)
    reader.goto(address_of(language, name))
    for size in (DESKTOP, PHONE):
        reader.set_viewport_size(size)
        reader.keyboard.press("Tab")  # from now on the focus is a keyboard’s
        seen, unmarked = reader.evaluate(UNMARKED)

        assert seen > 5
        assert unmarked == [], f"{language}/{name}, {theme}, {size['width']} px"


def test_the_menu_opens_on_a_phone_without_javascript(chromium: Browser, address: str) -> None:
    context = chromium.new_context(
        base_url=address,
        java_script_enabled=False,
        viewport=PHONE,
    )
    page = context.new_page()
    page.goto("/fr/guides/tester.html")

    page.keyboard.press("Tab")
    page.keyboard.press("Space")

    expect(page.locator(".sidebar-drawer")).to_be_in_viewport(ratio=1)
    context.close()
