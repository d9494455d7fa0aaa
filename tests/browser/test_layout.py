"""Rien ne déborde, du téléphone au texte doublé, et l’impression ne garde que la page."""

import pytest
from playwright.sync_api import Page

from tests.docs.pages import KINDS, LANGUAGES, address_of, built_pages

from .screens import A4, Theme

# The theme lets the content of a narrow page scroll sideways by itself: the document would not
# tell. So: nothing but code and tables scrolls, and nothing else reaches beyond the window.
OVERFLOW = """() => {
    const may = "pre, .table-wrapper";
    const faults = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) faults.push("the document");
    for (const node of document.querySelectorAll(".mobile-header *, .content, .content *")) {
        if (node.closest("svg, .for-the-ear") || node.parentElement.closest(may)) continue;
        if (!node.checkVisibility()) continue;
        const text = node.textContent.trim().slice(0, 40);
        const name = `${node.localName}.${node.className} « ${text} »`;
        if (node.getBoundingClientRect().right > innerWidth + 1) faults.push(name);
        const scrolls = ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
        if (scrolls && !node.matches(may) && node.scrollWidth > node.clientWidth + 1)
            faults.push(`scrolls: ${name}`);
    }
    return faults;
}"""
CLIPPED = """() => [...document.querySelectorAll("article pre, article .table-wrapper")]
    .filter((node) => node.scrollWidth > node.clientWidth + 1)
    .map((node) => node.textContent.slice(0, 60))"""
SHOWN = """(selectors) => selectors.filter((selector) =>
    [...document.querySelectorAll(selector)].some((node) => node.checkVisibility()))"""
NOT_PRINTED = [
    ".sidebar-drawer", ".toc-drawer", ".mobile-header", ".languages", ".theme-toggle",
    ".copybtn", ".back-to-top", ".headerlink", ".related-pages", ".skip-to-content",
    ".sidebar-search",
]  # fmt: skip


@pytest.mark.parametrize("name", built_pages())
@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_overflows(reader: Page, language: str, name: str) -> None:
    reader.emulate_media(media="screen")
    reader.goto(address_of(language, name))
    session = reader.context.new_cdp_session(reader)
    found = []
    for text, widths in ((16, (360, 320)), (32, (1280, 640))):
        # The text size chosen in the settings of the browser: 16 pixels, then twice as much.
        sizes = {"standard": text, "fixed": text * 13 // 16}
        session.send("Page.setFontSizes", {"fontSizes": sizes})
        for width in widths:
            reader.set_viewport_size({"width": width, "height": 740})
            found += [f"{width} px, text {text}: {what}" for what in reader.evaluate(OVERFLOW)]
    session.send("Page.setFontSizes", {"fontSizes": {"standard": 16, "fixed": 13}})
    session.detach()

    assert found == [], f"{language}/{name}"

    reader.set_viewport_size(A4)
    reader.emulate_media(media="print")

    assert reader.evaluate(CLIPPED) == [], f"{language}/{name}, printed"


def test_the_text_is_really_doubled(reader: Page) -> None:
    """Sans quoi le test précédent ne dirait rien."""
    reader.emulate_media(media="screen")
    reader.goto("/fr/guides/tester.html")
    height = "parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)"
    before = reader.evaluate(height)
    session = reader.context.new_cdp_session(reader)

    session.send("Page.setFontSizes", {"fontSizes": {"standard": 32, "fixed": 26}})
    after = reader.evaluate(height)
    session.send("Page.setFontSizes", {"fontSizes": {"standard": 16, "fixed": 13}})
    session.detach()

    assert after == 2 * before


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", KINDS)
def test_a_page_prints_alone_and_black_on_white(reader: Page, name: str, theme: Theme) -> None:
    reader.set_viewport_size(A4)
    reader.emulate_media(media="screen", color_scheme=theme)
    reader.goto(address_of("fr", name))
    reader.evaluate("(theme) => { document.body.dataset.theme = theme }", theme)
    if name == "guides/tester":
        assert ".copybtn" in reader.evaluate(SHOWN, NOT_PRINTED)

    reader.emulate_media(media="print")

    assert reader.evaluate(SHOWN, NOT_PRINTED) == []
    colors = reader.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert colors == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


def test_a_printed_page_says_where_its_links_lead(reader: Page) -> None:
    reader.emulate_media(media="print")
    reader.goto("/fr/guides/tester.html")
    reader.evaluate("""() => {
        document.querySelector("article p").innerHTML =
            '<a class="reference external" href="https://a.example/b">b</a>';
    }""")

    told = "(node) => getComputedStyle(node, '::after').content"

    assert "https://a.example/b" in reader.locator("article p a").first.evaluate(told)


def test_nothing_moves_for_whom_asks_for_no_motion(reader: Page) -> None:
    reader.emulate_media(media="screen", reduced_motion="reduce")
    reader.goto("/fr/guides/tester.html")

    moving = reader.evaluate("""() => [document.documentElement, ...document.querySelectorAll("*")]
        .filter((node) => {
            const style = getComputedStyle(node);
            return style.scrollBehavior === "smooth" || style.animationName !== "none"
                || parseFloat(style.transitionDuration) > 0;
        }).map((node) => node.className)""")

    assert moving == []
