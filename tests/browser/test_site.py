"""Le site dans un vrai navigateur."""

import pytest
from playwright.sync_api import Browser, Page, expect


@pytest.mark.parametrize(
    ("locale", "language"), [("fr-CA", "fr"), ("en-GB", "en"), ("de-DE", "en")]
)
def test_the_root_page_chooses_the_language(
    chromium: Browser, address: str, locale: str, language: str
) -> None:
    context = chromium.new_context(base_url=address, locale=locale)
    page = context.new_page()

    page.goto("/")

    expect(page).to_have_url(f"{address}/{language}/index.html")
    context.close()


@pytest.mark.parametrize("name", ["index", "modules/event_bus", "glossaire"])
def test_the_switcher_leads_to_the_same_page(page: Page, address: str, name: str) -> None:
    page.goto(f"/fr/{name}.html")

    page.get_by_role("navigation", name="Langue").get_by_role("link", name="English").click()

    expect(page).to_have_url(f"{address}/en/{name}.html")
    assert page.locator("html").get_attribute("lang") == "en"
    page.get_by_role("navigation", name="Language").get_by_role("link", name="Français").click()
    expect(page).to_have_url(f"{address}/fr/{name}.html")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_an_unknown_address_shows_the_404_page_of_its_language(page: Page, language: str) -> None:
    response = page.goto(f"/{language}/guides/nowhere.html")

    assert response is not None
    assert response.status == 404
    title = {"fr": "Page introuvable", "en": "Page not found"}[language]
    expect(page.locator("h1")).to_have_text(title)
    # Styled: the theme’s style sheet was found from this deeper address.
    assert page.evaluate("getComputedStyle(document.querySelector('.page')).display") == "flex"
