"""Ce que chaque page demande, et ce qu’elle pèse chez un hébergeur qui compresse."""

import gzip
from functools import cache
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Response

from tests.docs.pages import LANGUAGES, SITE, built_pages

PAGES = [f"{language}/{name}.html" for language in LANGUAGES for name in built_pages()]
MOST_BYTES = 45_000
MOST_REQUESTS = 14
SEARCH_BYTES = 60_000  # the index, its words and its code, once; grows by the page
SEARCH_ONLY = ("searchindex.js", "language_data.js", "searchtools.js", "-stemmer.js")


@cache
def weight(url: str) -> int:
    """Renvoie ce que pèse un fichier chez un hébergeur qui compresse."""
    content = (SITE / urlsplit(url).path.lstrip("/")).read_bytes()
    return min(len(content), len(gzip.compress(content)))  # a .bin is compressed already


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_and_asks_nothing_of_anyone_else(
    reader: Page, address: str, name: str
) -> None:
    session = reader.context.new_cdp_session(reader)
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    answers: list[Response] = []

    def note(answer: Response) -> None:
        answers.append(answer)

    reader.on("response", note)
    reader.goto(f"/{name}")
    reader.remove_listener("response", note)
    session.detach()

    asked = {answer.url: answer for answer in answers}
    icon = f"{address}/{name[:2]}/_static/favicon.svg"  # asked for, but Chromium does not tell
    foreign = [url for url in asked if not url.startswith((address, "data:"))]
    own_files = {icon, *(url for url in asked if url.startswith(address))}
    sizes = {url: weight(url) for url in own_files}
    search = {url: size for url, size in sizes.items() if any(end in url for end in SEARCH_ONLY)}
    own = {url: size for url, size in sizes.items() if url not in search}
    told = "\n".join(f"{size:6} {url}" for url, size in sorted(sizes.items()))

    assert foreign == []
    assert [url for url, answer in asked.items() if answer.status != 200] == []
    assert len(sizes) <= MOST_REQUESTS + (len(search) if "search" in name else 0), told
    assert sum(own.values()) <= MOST_BYTES, told
    assert sum(search.values()) <= (SEARCH_BYTES if "search" in name else 0), told


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_asked_for_once_the_page_is_there(
    page: Page, address: str, language: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(f"/{language}/modules/event_bus.html", wait_until="networkidle")

    assert asked
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
