"""Ce que lisent les moteurs de recherche, les partages et les modèles de langue."""

import re
from collections import Counter
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest

from .pages import LANGUAGES, NAMES, SITE, built

PUBLIC = "https://share-kernel.example"
NAMESPACES = {
    "s": "http://www.sitemaps.org/schemas/sitemap/0.9",
    "x": "http://www.w3.org/1999/xhtml",
}
GENERATED = ["search", "genindex"]
EVERY = [(language, name) for language in LANGUAGES for name in [*NAMES, *GENERATED]]


def address(language: str, name: str) -> str:
    return f"{PUBLIC}/{language}/" + ("" if name == "index" else f"{name}.html")


def file_at(url: str) -> Path:
    path = url.removeprefix(f"{PUBLIC}/")
    return SITE / (f"{path}index.html" if path.endswith("/") or not path else path)


def metadata(page: str) -> dict[str, str]:
    """Renvoie chaque balise ``meta`` nommée ; aucune ne doit l’être deux fois."""
    found = re.findall(r'<meta (?:name|property)="(?!viewport)([^"]+)" content="([^"]*)"', page)
    names = [name for name, _content in found]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    return {name: unescape(content) for name, content in found}


def title(page: str) -> str:
    found = re.findall(r"<title>(.*?)</title>", page, re.DOTALL)
    assert len(found) >= 1  # the icons have theirs
    return unescape(found[0].strip())


@pytest.mark.parametrize(("language", "name"), EVERY)
def test_a_page_describes_itself(language: str, name: str) -> None:
    found = metadata(built(language, name))

    assert 50 <= len(found["description"]) <= 160, found["description"]
    assert found["og:description"] == found["description"]
    assert found["og:title"]
    assert found["og:title"] in title(built(language, name))
    assert found["og:type"] == ("website" if name == "index" else "article")
    assert found["og:url"] == address(language, name)
    assert found["og:locale"] == {"fr": "fr_FR", "en": "en_US"}[language]
    assert found["og:locale:alternate"] == {"fr": "en_US", "en": "fr_FR"}[language]
    assert found["og:site_name"] == {"fr": "Bus d’événements", "en": "Event bus"}[language]
    assert found["twitter:card"] == "summary_large_image"
    assert found["og:image"] == f"{PUBLIC}/{language}/partage.png"
    assert file_at(found["og:image"]).is_file()


@pytest.mark.parametrize("what", ["title", "description"])
def test_no_two_pages_say_the_same(what: str) -> None:
    pages = [built(language, name) for language, name in EVERY]
    texts = [title(page) if what == "title" else metadata(page)["description"] for page in pages]

    assert [text for text, count in Counter(texts).items() if count > 1] == []


@pytest.mark.parametrize(("language", "name"), EVERY)
def test_the_canonical_address_and_its_translations_are_absolute(language: str, name: str) -> None:
    page = built(language, name)
    alternates = dict(re.findall(r'<link rel="alternate" hreflang="([^"]+)" href="([^"]+)"', page))

    assert re.findall(r'<link rel="canonical" href="([^"]+)"', page) == [address(language, name)]
    assert alternates == {
        "fr": address("fr", name),
        "en": address("en", name),
        "x-default": f"{PUBLIC}/",
    }
    for url in alternates.values():
        assert file_at(url).is_file(), url


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_sitemap_lists_every_page_and_its_translations(language: str) -> None:
    sitemap = ET.parse(SITE / language / "sitemap.xml")
    urls = sitemap.getroot().findall("s:url", NAMESPACES)

    listed = {}
    for url in urls:
        links = url.findall("x:link", NAMESPACES)
        location = url.findtext("s:loc", namespaces=NAMESPACES)
        listed[location] = {link.get("hreflang"): link.get("href") for link in links}
    assert listed == {
        address(language, name): {"fr": address("fr", name), "en": address("en", name)}
        for name in NAMES
    }


def test_robots_lead_to_both_sitemaps() -> None:
    robots = (SITE / "robots.txt").read_text(encoding="utf-8")
    index = ET.parse(SITE / "sitemap.xml")
    locations = [node.text or "" for node in index.getroot().findall("s:sitemap/s:loc", NAMESPACES)]

    assert re.findall(r"^Sitemap: (\S+)$", robots, re.MULTILINE) == [f"{PUBLIC}/sitemap.xml"]
    assert "Disallow: /" not in robots
    assert locations == [f"{PUBLIC}/{language}/sitemap.xml" for language in LANGUAGES]


@pytest.mark.parametrize("where", ["", "fr", "en"])
def test_llms_txt_lists_every_page(where: str) -> None:
    text = (SITE / where / "llms.txt").read_text(encoding="utf-8")
    languages = [where] if where else LANGUAGES
    entries = re.findall(r"^- \[(.+)\]\((\S+)\): (.+)$", text, re.MULTILINE)

    # The shape of llmstxt.org: one title, a quoted summary, then sections of links.
    assert re.match(r"# [^\n]+\n\n(> ?[^\n]*\n)+\n## ", text)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert all(re.match(r"(#|>|- \[|$)", line) for line in text.splitlines()), text
    expected = [address(code, name) for code in languages for name in NAMES if name != "index"]
    assert sorted(url for _title, url, _description in entries) == sorted(expected)
    for name, url, description in entries:
        page = file_at(url).read_text(encoding="utf-8")
        assert name in title(page)
        assert description == metadata(page)["description"]


def test_the_root_page_describes_itself() -> None:
    page = (SITE / "index.html").read_text(encoding="utf-8")
    found = metadata(page)

    assert 50 <= len(found["description"]) <= 160
    assert found["og:url"] == f"{PUBLIC}/"
    assert f'<link rel="canonical" href="{PUBLIC}/">' in page
    assert "{{" not in page


def test_every_address_of_the_site_is_of_one_host() -> None:
    assert urlsplit(PUBLIC).netloc == "share-kernel.example"
    for name in ("llms.txt", "sitemap.xml", "robots.txt", "index.html"):
        text = (SITE / name).read_text(encoding="utf-8")
        found = set(re.findall(r"https://[\w.-]+", text)) - {"https://www.sitemaps.org"}
        assert found == {PUBLIC}, name
