"""Le paquet du lecteur, tapé une fois : ce que les pages montrent et copient s’importe de lui."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.docs.pages import LANGUAGES, NAMES, built

from .screens import DESKTOP, PHONE

LABEL = {"fr": "Votre paquet", "en": "Your package"}
REFUSAL = {
    "fr": "« {} » ne s’importe pas : lettres, chiffres et _, ni chiffre au début ni mot-clé, "
    "comme commun ou acme.commun.",
    "en": "“{}” cannot be imported: letters, digits and _, no digit first, no keyword, "
    "as in common or acme.common.",
}
WITH_CODE = [name for name in NAMES if "highlight-python" in built("fr", name)]
MODELS = "contribuer/modeles"  # copied into this project, whose package has its name
WITHOUT_CODE = ["guides/index", "glossaire", "decisions/index", "genindex", "search", "404"]
OUR_KERNEL = re.compile(r"\bsrc[./]share_kernel\b")

Typed = Callable[..., None]


@pytest.fixture
def typed(page: Page) -> Typed:
    """Tape un nom dans le champ d’une page, touche après touche, puis Entrée."""

    def type_name(
        name: str, page_name: str = "guides/adopter-le-bus", language: str = "fr"
    ) -> None:
        page.goto(f"/{language}/{page_name}.html")
        field = page.get_by_label(LABEL[language])
        field.fill("")
        field.press_sequentially(name)
        field.press("Enter")

    return type_name


def article(page: Page) -> str:
    """Renvoie tout ce qui est écrit dans la page, le message du champ excepté."""
    return str(
        page.evaluate("""() => {
            const shown = document.querySelector("article").cloneNode(true);
            shown.querySelectorAll(".package, [role=status]").forEach((part) => part.remove());
            return shown.textContent;
        }""")
    )


def copies(page: Page) -> list[str]:
    """Presse chaque bouton « copier » de la page."""
    copied = []
    for button in page.locator(".copybtn").all():
        page.evaluate("navigator.clipboard.writeText('')")
        button.click()
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    return copied


@pytest.mark.parametrize(("language", "other"), [("fr", "en"), ("en", "fr")])
def test_a_name_typed_once_is_that_of_the_other_pages_and_of_the_other_language(
    page: Page, typed: Typed, language: str, other: str
) -> None:
    page.goto(f"/{other}/guides/tester.html")
    before = copies(page)
    typed("commun", language=language)

    page.goto(f"/{other}/guides/tester.html")

    assert any(OUR_KERNEL.search(text) for text in before)
    expected = [text.replace("src.share_kernel", "commun.share_kernel") for text in before]
    assert copies(page) == expected
    assert not OUR_KERNEL.search(article(page))
    assert "commun.share_kernel.pytest_plugin" in article(page)
    expect(page.get_by_label(LABEL[other])).to_have_value("commun")


def test_the_page_changes_as_one_types(page: Page, typed: Typed) -> None:
    typed("commun")

    settings = page.locator("div.highlight-python pre").first
    expect(settings).to_contain_text('"commun.share_kernel",')
    assert "python share_kernel.zip commun/share_kernel" in copies(page)[0]


def test_a_dotted_name_is_a_path_in_the_console(page: Page, typed: Typed) -> None:
    typed("acme.commun")

    copying, _, settings, *_ = copies(page)
    assert copying.startswith("python share_kernel.zip acme/commun/share_kernel\n")
    assert '"acme.commun.share_kernel",' in settings


def test_the_modules_of_the_example_keep_their_names(page: Page, typed: Typed) -> None:
    page.goto("/fr/tutoriel/dans-un-projet-django.html")
    modules = len(re.findall(r"src.module", article(page)))
    typed("commun", "tutoriel/dans-un-projet-django")

    assert modules
    assert len(re.findall(r"src.module", article(page))) == modules
    assert "from commun.share_kernel." in article(page)


@pytest.mark.parametrize("name", ["modules/event_bus", "index", "explications/securite"])
def test_only_the_text_changes(page: Page, typed: Typed, name: str) -> None:
    """Ni les ancres, ni les liens, ni les couleurs du code."""
    tags = "document.querySelector('article').outerHTML.replace(/>[^<]*</g, '><')"
    page.goto(f"/fr/{name}.html")
    page.locator(".copybtn").last.wait_for(state="attached")
    page.get_by_label(LABEL["fr"]).press("Enter")
    before = page.evaluate(tags)

    typed("commun", name)

    assert page.evaluate(tags) == before
    assert not OUR_KERNEL.search(article(page))


@pytest.mark.parametrize("emptied", ["", "   ", "src"])
def test_without_a_name_the_page_is_as_it_was_written(
    page: Page, typed: Typed, emptied: str
) -> None:
    page.goto("/fr/guides/adopter-le-bus.html")
    written = article(page)
    typed("acme.commun")
    assert article(page) != written

    page.get_by_label(LABEL["fr"]).fill(emptied)
    assert article(page) == written
    page.reload()

    assert article(page) == written
    assert page.evaluate("localStorage.length") == 0
    expect(page.get_by_label(LABEL["fr"])).to_have_value("")


@pytest.mark.parametrize(
    "name",
    ["my-package", "2commun", "class", "acme.", ".acme", "a..b", "acme.import", "a b", "a/b"],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_that_cannot_be_imported_is_refused_and_changes_nothing(
    page: Page, typed: Typed, language: str, name: str
) -> None:
    page.goto(f"/{language}/guides/adopter-le-bus.html")
    written = article(page)

    typed(name, language=language)

    field = page.get_by_label(LABEL[language])
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(REFUSAL[language].format(name))
    expect(page.locator(".package [aria-live]")).to_be_visible()
    assert article(page) == written
    assert page.evaluate("localStorage.length") == 0


def test_a_refused_name_leaves_the_one_before(page: Page, typed: Typed) -> None:
    typed("commun")
    typed("my-package")

    page.reload()

    expect(page.get_by_label(LABEL["fr"])).to_have_value("commun")
    expect(page.get_by_label(LABEL["fr"])).to_have_attribute("aria-invalid", "false")
    assert "commun.share_kernel" in article(page)


@pytest.mark.parametrize("name", ["événements", "_commun2", "acme.match", "A.b_c.d"])
def test_what_python_imports_is_accepted(page: Page, typed: Typed, name: str) -> None:
    typed(name)

    expect(page.get_by_label(LABEL["fr"])).to_have_attribute("aria-invalid", "false")
    assert f"from {name}.share_kernel.domain.domain_event import" in article(page)


def test_what_someone_else_kept_there_is_not_shown(page: Page) -> None:
    page.goto("/fr/guides/tester.html")
    page.evaluate("localStorage.setItem('share_kernel.package', '<b>1</b>')")
    page.reload()

    assert "from src.share_kernel." in article(page)
    expect(page.get_by_label(LABEL["fr"])).to_have_value("")


def test_an_open_page_follows_the_name_typed_in_another(page: Page, typed: Typed) -> None:
    second = page.context.new_page()
    second.goto("/en/guides/tester.html")

    typed("commun")

    expect(second.locator("article")).to_contain_text("from commun.share_kernel.testing import")
    expect(second.get_by_label(LABEL["en"])).to_have_value("commun")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_field_is_on_each_page_that_has_code(reader: Page, language: str) -> None:
    for name in WITH_CODE:
        reader.goto(f"/{language}/{name}.html")
        field = reader.get_by_label(LABEL[language])
        expect(field, name).to_have_count(0 if name == MODELS else 1)


@pytest.mark.parametrize("name", WITHOUT_CODE)
def test_a_page_without_code_has_no_field(reader: Page, name: str) -> None:
    reader.goto(f"/fr/{name}.html")

    expect(reader.locator("h1")).to_have_count(1)
    expect(reader.get_by_label(LABEL["fr"])).to_have_count(0)


def test_the_models_of_pages_keep_our_name(page: Page, typed: Typed) -> None:
    typed("commun")

    page.goto(f"/fr/{MODELS}.html")

    assert "from src.share_kernel." in copies(page)[0]
    assert "# (1)" in copies(page)[0]


def test_without_javascript_there_is_no_field(chromium: Browser, address: str) -> None:
    context = chromium.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/fr/guides/tester.html")

    expect(page.locator(".package")).to_be_hidden()
    expect(page.locator("article")).to_contain_text("from src.share_kernel.testing import")
    expect(page.locator(".callout span").first).to_be_visible()
    context.close()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_field_is_above_the_page(page: Page, typed: Typed, size: ViewportSize) -> None:
    page.set_viewport_size(size)
    for name in ("index", "guides/tester"):
        typed("my-package", name)
        heading = page.locator("h1").bounding_box()
        field = page.locator(".package").bounding_box()
        assert heading
        assert field
        assert field["y"] + field["height"] <= heading["y"]
        expect(page.get_by_label(LABEL["fr"])).to_be_in_viewport(ratio=1)


def test_a_block_that_a_long_name_widens_scrolls_with_the_arrows(page: Page, typed: Typed) -> None:
    page.set_viewport_size(DESKTOP)
    typed(".".join(["commun"] * 12))
    block = page.locator("pre", has_text="register_event").first

    expect(block).to_have_attribute("tabindex", "0")
    page.get_by_label(LABEL["fr"]).fill("")

    expect(block).not_to_have_attribute("tabindex", "0")


class TestMarks:
    def test_a_mark_is_a_badge_and_so_is_its_number_in_the_list(self, reader: Page) -> None:
        reader.goto("/fr/guides/declarer-un-evenement.html")
        block = reader.locator("div.highlight-python").first

        assert block.locator(".callout").all_inner_texts() == [f"  {n}" for n in (1, 2, 3, 4)]
        assert "# (" not in block.inner_text()
        look = "(node, part) => getComputedStyle(node, part).backgroundColor"
        item = reader.locator("article ol li").first
        mark = block.locator(".callout span").first
        assert item.evaluate(look, "::before") == mark.evaluate(look)
        assert mark.evaluate(look) != block.evaluate(look)

    @pytest.mark.parametrize("name", [n for n in WITH_CODE if 'class="callout"' in built("fr", n)])
    def test_a_mark_is_not_copied_nor_the_blanks_before_it(self, page: Page, name: str) -> None:
        page.goto(f"/fr/{name}.html")

        for copied in copies(page):
            assert not re.search(r"# \(\d|[ \t]$", copied, re.MULTILINE), copied

    def test_a_mark_is_not_selected(self, page: Page) -> None:
        page.goto("/fr/guides/declarer-un-evenement.html")
        page.locator("div.highlight-python pre").first.evaluate(
            "(block) => getSelection().selectAllChildren(block)"
        )
        page.keyboard.press("Control+c")

        copied = page.evaluate("navigator.clipboard.readText()")
        assert re.search(r"^@register_event$", copied, re.MULTILINE)

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_every_mark_of_a_block_is_drawn(self, language: str) -> None:
        for name in WITH_CODE:
            if name != MODELS:
                assert '<span class="c1"># (' not in built(language, name), name
