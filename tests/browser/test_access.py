"""Chaque page passée à axe-core : les deux langues, clair et sombre, ordinateur et téléphone."""

import re
from collections.abc import Iterable
from importlib.resources import files

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.docs.pages import KINDS, LANGUAGES, SITE, address_of, built_pages

from .contrast import with_contrast
from .screens import Theme

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
WIDE, NARROW = 1440, 360  # under 1312, the table of contents is in a drawer
# Every rule that axe-core has, best practices and experimental ones included, but these.
LEFT_OUT = {
    "color-contrast-enhanced": "level AAA, and the site claims level AA",
    "focus-order-semantics": "experimental: would make a landmark of each wide table",
    "hidden-content": "no verdict: lists what is hidden, for a person to look at",
}
FINISHED = re.compile("Recherche terminée|Aucune page|Search finished|No page")
ON_COLORS = ["color-contrast", "link-in-text-block"]  # all that a dark page may change

RUN = """async ([wanted, leftOut, within]) => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame(); await frame();  // the page has taken its new width into account
    const rules = wanted || axe.getRules().map((rule) => rule.ruleId);
    const values = rules.filter((rule) => !leftOut.includes(rule));
    const options = {runOnly: {type: "rule", values}, resultTypes: ["violations"]};
    const found = await axe.run(within || document, options);
    return found.violations.flatMap((rule) =>
        rule.nodes.map((node) => `${rule.id}: ${node.target.join(" ")} (${rule.help})`));
}"""

# axe-core would spend three quarters of its time on the words of the code, and gives up on those
# that are scrolled out of sight: their colors are measured here, all of them.
CODE = with_contrast("""() => {
    const faults = new Set();
    for (const word of document.querySelectorAll("pre, pre span:not(:empty)")) {
        const ratio = contrast(getComputedStyle(word).color, ground(word)).toFixed(2);
        if (ratio < 4.5) faults.add(`code-contrast: pre .${word.className} (${ratio}:1)`);
    }
    return [...faults];
}""")
PLAIN_CODE = "document.querySelectorAll('pre').forEach((pre) => (pre.textContent = pre.innerText))"


def axe(
    page: Page,
    rules: list[str] | None = None,
    left_out: Iterable[str] = LEFT_OUT,
    within: str | None = None,
) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: list[str] = page.evaluate(RUN, [rules, list(left_out), within])
    return found


def see(page: Page, theme: Theme, width: int) -> None:
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})


def faults(page: Page, where: str, width: int) -> list[str]:
    """Renvoie les fautes d’une page à cette largeur : en clair, puis les couleurs en sombre."""
    see(page, "light", width)
    found = [f"{where}, light, {width} px: {fault}" for fault in axe(page)]
    see(page, "dark", width)
    return found + [f"{where}, dark, {width} px: {fault}" for fault in axe(page, ON_COLORS)]


@pytest.fixture(autouse=True)
def _settled(reader: Page) -> None:
    see(reader, "light", WIDE)


def test_axe_sees_a_fault(reader: Page) -> None:
    reader.goto("/fr/guides/tester.html")
    reader.evaluate("""() => {
        document.querySelector("h1").style.color = "#eee";
        document.querySelector(".theme-toggle-content button").removeAttribute("aria-label");
        document.querySelector("pre span:not(:empty)").style.color = "#888";
    }""")

    found = " ".join(axe(reader) + reader.evaluate(CODE))

    for rule in ("color-contrast: h1", "button-name", "code-contrast"):
        assert rule in found


@pytest.mark.parametrize("name", built_pages())
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing(reader: Page, language: str, name: str) -> None:
    where = f"{language}/{name}"
    reader.goto(address_of(language, name))
    found = [f"{where}, light: {fault}" for fault in reader.evaluate(CODE)]
    see(reader, "dark", WIDE)
    found += [f"{where}, dark: {fault}" for fault in reader.evaluate(CODE)]
    reader.evaluate(PLAIN_CODE)
    if name in KINDS:
        found += [fault for width in (WIDE, 1280, NARROW) for fault in faults(reader, where, width)]
    else:  # around the article it is as the others of its kind, and so are its colors on a phone
        dark = axe(reader, ON_COLORS, within="article")
        found += [f"{where}, dark, {WIDE} px: {fault}" for fault in dark]
        see(reader, "light", WIDE)
        found += [f"{where}, light, {WIDE} px: {fault}" for fault in axe(reader)]
        see(reader, "light", NARROW)
        narrow = axe(reader, None, [*LEFT_OUT, *ON_COLORS], "article")
        found += [f"{where}, light, {NARROW} px: {fault}" for fault in narrow]

    assert found == []


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("words", ["bus", "zwxq"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_in_the_results(
    reader: Page, language: str, words: str, width: int
) -> None:
    reader.goto(f"/{language}/search.html?q={words}")
    expect(reader.locator("#search-results")).to_contain_text(FINISHED)

    assert faults(reader, f"{language}/search.html?q={words}", width) == []


@pytest.mark.parametrize("drawer", ["navigation", "toc"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_in_an_open_drawer(reader: Page, language: str, drawer: str) -> None:
    reader.set_viewport_size({"width": NARROW, "height": 900})
    reader.goto(f"/{language}/guides/tester.html")
    reader.locator(f".mobile-header [aria-controls=__{drawer}_drawer]").press("Enter")
    expect(reader.locator(f"#__{drawer}_drawer")).to_be_in_viewport(ratio=1)

    assert faults(reader, f"{language}, {drawer} drawer", NARROW) == []


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_axe_finds_nothing_on_the_root_page(reader: Page, width: int) -> None:
    """Ce que voit qui n’a pas JavaScript : le script mènerait aussitôt ailleurs."""
    root = (SITE / "index.html").read_text(encoding="utf-8")
    reader.goto("about:blank")
    reader.set_content(re.sub(r"<script>.*?</script>", "", root, flags=re.DOTALL))
    expect(reader.get_by_role("link")).to_have_count(2)

    assert faults(reader, "root page", width) == []


def test_the_root_page_leads_somewhere_without_javascript(chromium: Browser, address: str) -> None:
    context = chromium.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")

    page.get_by_role("link", name="Français").click()

    expect(page).to_have_url(f"{address}/fr/index.html")
    context.close()
