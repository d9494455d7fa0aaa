"""Le site, servi avec exactement les en-têtes qu’il demande, marche dans un vrai navigateur."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.docs.pages import NAMES

PAGES = [*NAMES, "search", "genindex", "404"]
REMEMBER = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@pytest.fixture
def page(chromium: Browser, hosted: str) -> Iterator[Page]:
    context = chromium.new_context(
        base_url=hosted, locale="fr-FR", permissions=["clipboard-read", "clipboard-write"]
    )
    context.add_init_script(REMEMBER)
    yield context.new_page()
    context.close()


def refused(page: Page) -> list[str]:
    return list(page.evaluate("window.refused"))


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_policy_refuses_nothing_of_any_page(page: Page, language: str) -> None:
    for name in PAGES:
        page.goto(f"/{language}/{name}.html")
        assert refused(page) == [], name


def test_the_policy_refuses_what_nobody_wrote(page: Page) -> None:
    page.goto("/fr/index.html")

    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 1}))"
    )

    page.wait_for_function("window.refused.length")
    assert "script-src" in refused(page)[0]


def test_the_theme_button_works_and_is_remembered(page: Page) -> None:
    page.goto("/fr/index.html")
    button = page.locator("button.theme-toggle:visible").first
    before = page.locator("body").get_attribute("data-theme")

    button.click()

    chosen = page.locator("body").get_attribute("data-theme")
    assert chosen != before
    page.goto("/fr/guides/tester.html")
    assert page.locator("body").get_attribute("data-theme") == chosen
    assert refused(page) == []


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_search_works(page: Page, language: str) -> None:
    page.goto(f"/{language}/search.html?q=idempotent")

    expect(page.locator("#search-results p.context").first).to_be_visible()
    assert refused(page) == []


def test_the_copy_button_works(page: Page) -> None:
    page.goto("/en/index.html")
    block = page.locator("div.highlight-python").first
    block.hover()

    block.locator("button.copybtn").click()

    expect(block.locator("button.copybtn.success")).to_be_visible()
    assert "publish_event" in page.evaluate("navigator.clipboard.readText()")
    assert refused(page) == []


@pytest.mark.parametrize("root", ["/", "/index.html"])
def test_the_root_page_still_chooses_the_language(page: Page, hosted: str, root: str) -> None:
    page.goto(root)

    expect(page).to_have_url(f"{hosted}/fr/index.html")


def test_the_root_404_page_is_styled(page: Page) -> None:
    page.goto("/404.html")

    assert page.evaluate("getComputedStyle(document.body).display") == "grid"
    assert refused(page) == []


def test_a_versioned_file_is_kept_and_a_page_is_not(page: Page) -> None:
    kept: dict[str, str] = {}
    page.on(
        "response",
        lambda answer: kept.update({answer.url: answer.headers.get("cache-control", "")}),
    )

    page.goto("/fr/guides/tester.html", wait_until="networkidle")

    versioned = {url: value for url, value in kept.items() if "?v=" in url}
    assert versioned
    assert all("immutable" in value for value in versioned.values()), versioned
    assert not any(value for url, value in kept.items() if url not in versioned), kept
