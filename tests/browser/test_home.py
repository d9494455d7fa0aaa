"""La page d’accueil : ce qu’elle dit, dans quel ordre, et la démo que l’on y parcourt."""

import html
import json
import re
import tomllib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.docs.pages import DOCS, LANGUAGES, ROOT, SITE, built

from .screens import A4, DESKTOP, PHONE

SCENES = json.loads((DOCS / "_data" / "demo.json").read_text(encoding="utf-8"))["scenes"]
EVENTS = [event["what"] for scene in SCENES for event in scene["events"]]
TITLES = {
    "fr": ["Pour qui", "Installer", "Essayer", "Voir ce qui arrive", "Continuer"],
    "en": ["Is it for you?", "Install", "Try it", "Watch it work", "Where to go next"],
}
MOST_WORDS = 300
# A name goes to the next line after its dot, and nowhere else.
CUT = """() => [...document.querySelectorAll(".scene code")].filter((code) => {
    const rows = (node) => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
    };
    return code.checkVisibility() && [...code.childNodes].some((part) => rows(part) > 1);
}).map((code) => code.textContent)"""

both = pytest.mark.parametrize("language", LANGUAGES)


def text_of(markup: str) -> str:
    """Renvoie le texte d’un fragment ; toute espace, même insécable, y devient une espace."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


@pytest.fixture(scope="module")
def unscripted(chromium: Browser, address: str) -> Iterator[Page]:
    context = chromium.new_context(base_url=address, java_script_enabled=False, viewport=DESKTOP)
    yield context.new_page()
    context.close()


@both
def test_it_says_first_what_it_is_then_for_whom_then_how(reader: Page, language: str) -> None:
    reader.goto(f"/{language}/index.html")

    found = [text.rstrip("¶") for text in reader.locator("article h2").all_text_contents()]

    assert found == TITLES[language]
    assert reader.locator("ul.portes a").count() == 4


@both
def test_it_is_read_in_a_minute(reader: Page, language: str) -> None:
    reader.goto(f"/{language}/index.html")

    prose = reader.evaluate("""() => {
        const article = document.querySelector("article").cloneNode(true);
        article.querySelectorAll("pre, .demo, .headerlink").forEach((node) => node.remove());
        return article.textContent;
    }""")

    assert 100 < len(re.findall(r"\w[\w’'.-]*", prose)) <= MOST_WORDS


def test_its_facts_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    facts = re.search(r'<p class="faits">(.*?)</p>', built("fr", "index"), re.DOTALL)
    django = next(item for item in project["dependencies"] if item.startswith("django"))

    assert facts
    text = text_of(facts[1])
    assert text.startswith(f"Version {project['version']}, licence {project['license']}.")
    assert f"Python {project['requires-python'].removeprefix('>=')} " in text
    assert f"Django {django.removeprefix('django>=').split(',')[0]}, ou plus récents" in text
    assert not any("celery" in item for item in project["dependencies"])


def test_the_archive_it_offers_is_there(reader: Page) -> None:
    reader.goto("/fr/index.html")

    href = reader.get_by_role("link", name="l’archive").get_attribute("href")

    assert href == "share_kernel.zip"
    assert (SITE / "fr" / href).is_file()


def test_headings_are_of_different_sizes(reader: Page) -> None:
    reader.set_viewport_size(DESKTOP)
    for name in ("index", "modules/event_bus"):
        reader.goto(f"/fr/{name}.html")
        sizes = [
            reader.locator(f"article {tag}").first.evaluate(
                "(node) => parseFloat(getComputedStyle(node).fontSize)"
            )
            for tag in ("h1", "h2", "h3")
        ]

        assert sizes[0] >= 1.4 * sizes[1], name
        assert sizes[1] >= 1.2 * sizes[2], name


@both
def test_the_picture_is_the_recorded_run(language: str) -> None:
    page = built(language, "index")
    drawn = re.findall(r'<div class="scene scene-(\w+)[^>]*>(.*?)</div>', page, re.DOTALL)

    assert [key for key, _ in drawn] == [scene["scene"] for scene in SCENES]
    for (_, scene), recorded in zip(drawn, SCENES, strict=True):
        lines = [text_of(line) for line in re.findall(r"<li .*?</li>", scene)]
        assert len(lines) == len(recorded["events"])
        for line, event in zip(lines, recorded["events"], strict=True):
            assert line.endswith(event["what"]) == (language == "en"), line


def test_one_steps_from_scene_to_scene_with_the_arrows(reader: Page) -> None:
    reader.set_viewport_size(DESKTOP)
    reader.goto("/fr/index.html")
    scenes = reader.locator(".scene")
    expect(scenes.locator("visible=true").first).to_be_visible()

    reader.get_by_role("radio").first.focus()
    for number in range(1, len(SCENES) + 1):
        shown = [scene.is_visible() for scene in scenes.all()]
        assert shown == [number == position for position in range(1, len(SCENES) + 1)]
        reader.keyboard.press("ArrowRight")

    expect(scenes.first).to_be_visible()  # after the last, the first


def test_a_pointer_steps_too(reader: Page) -> None:
    reader.set_viewport_size(PHONE)
    reader.goto("/fr/index.html")

    reader.locator("label", has_text="Worker tué").click()

    expect(reader.locator(".scene-worker")).to_be_visible()
    expect(reader.locator(".scene-commit")).to_be_hidden()


@both
def test_without_javascript_the_scenes_follow_one_another(unscripted: Page, language: str) -> None:
    unscripted.goto(f"/{language}/index.html")

    expect(unscripted.locator(".etapes")).to_be_hidden()
    assert all(scene.is_visible() for scene in unscripted.locator(".scene").all())
    assert unscripted.locator(".scene li").count() == len(EVENTS)


def test_on_paper_the_scenes_follow_one_another(reader: Page) -> None:
    reader.goto("/fr/index.html")
    reader.set_viewport_size(A4)
    reader.emulate_media(media="print")

    shown = [scene.is_visible() for scene in reader.locator(".scene").all()]
    reader.emulate_media(media="screen")

    assert shown == [True] * len(SCENES)


def test_on_a_phone_each_event_names_its_process_and_no_name_is_cut(reader: Page) -> None:
    reader.goto("/fr/index.html")
    for width in (PHONE["width"], 390):
        reader.set_viewport_size({"width": width, "height": PHONE["height"]})
        for key in ("commit", "rollback", "worker", "broker"):
            reader.locator(f"[value={key}]").check()
            alone = reader.locator(f".scene-{key} li:not(.suite) .qui")

            assert alone.count()
            assert all(name.bounding_box()["width"] > 40 for name in alone.all())  # type: ignore[index]
            assert reader.evaluate(CUT) == []


def test_on_a_desktop_each_process_has_its_column(reader: Page) -> None:
    reader.set_viewport_size(DESKTOP)
    reader.goto("/fr/index.html")
    reader.locator("[value=broker]").check()

    lefts = {
        lane: {
            round(box["x"])
            for item in reader.locator(f".scene-broker .voie-{lane} .fait").all()
            if (box := item.bounding_box())
        }
        for lane in ("web", "worker", "broker")
    }

    assert all(len(found) == 1 for found in lefts.values()), lefts
    assert sorted(lefts, key=lambda lane: min(lefts[lane])) == ["web", "worker", "broker"]
    assert reader.evaluate(CUT) == []


@pytest.mark.parametrize("name", ["reference/erreurs", "explications/comparaison"])
def test_a_table_cuts_no_name_on_a_phone(reader: Page, name: str) -> None:
    reader.set_viewport_size(PHONE)
    reader.goto(f"/fr/{name}.html")

    wraps = reader.evaluate("""() => [...document.querySelectorAll("td code, th code")]
        .filter((code) => !/[\\s/-]/.test(code.textContent.trim()))
        .filter((code) => new Set([...code.getClientRects()].map((box) => box.top)).size > 1)
        .map((code) => code.textContent)""")

    assert wraps == []
