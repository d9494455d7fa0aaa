"""Ce que lisent les moteurs : description, adresse, ``sitemap.xml``, ``llms.txt``."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from hosting import LANGUAGES
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.locale import _

LOCALES = {"fr": "fr_FR", "en": "en_US"}
SHORTEST, LONGEST = 50, 160  # what a results page shows

SITEMAP_HEAD = """\
<?xml version="1.0" encoding="utf-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
 xmlns:xhtml="http://www.w3.org/1999/xhtml">"""


def address(site: str, language: str, docname: str) -> str:
    """Renvoie l’adresse absolue d’une page ; celle de l’accueil est son dossier."""
    return f"{site}{language}/" + ("" if docname == "index" else f"{docname}.html")


def site_of(app: Sphinx) -> str:
    """Renvoie l’adresse publique du site, sans la langue."""
    return str(app.config.html_baseurl).removesuffix(f"{app.config.language}/")


def describe(doctree: nodes.document) -> str:
    """Renvoie la description écrite dans la page, ou ses premières phrases."""
    for meta in doctree.findall(nodes.meta):
        if meta.get("name") == "description":
            return str(meta["content"])
    text = ""
    for paragraph in paragraphs(doctree):
        text = f"{text} {paragraph}".strip()
        if len(text) >= SHORTEST:
            break
    return shorten(text)


def paragraphs(doctree: nodes.document) -> Iterator[str]:
    """Parcourt les paragraphes de prose : ni tableau, ni liste, ni description d’objet."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.document | nodes.section):
            yield re.sub(r"\s+", " ", paragraph.astext(), flags=re.ASCII)  # no-break ones stay


def shorten(text: str) -> str:
    """Garde des phrases entières si elles suffisent, sinon coupe à un mot."""
    if len(text) <= LONGEST:
        return text
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s)", text[: LONGEST + 1])]
    if ends and ends[-1] >= SHORTEST:
        return text[: ends[-1]]
    return text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(" ,;:\u00a0") + "…"


def generated_pages() -> dict[str, tuple[str, str]]:
    """Nomme et décrit les pages que personne n’écrit."""
    return {
        "search": (
            _("Search"),
            _("Search every page of this documentation, with or without accents."),
        ),
        "genindex": (
            _("Index"),
            _("Every class, function, setting and term of this documentation, A to Z."),
        ),
        "404": (
            _("Page not found"),
            _("This page does not exist, or has moved. Search for it, or start again from here."),
        ),
    }


def add_metadata(
    app: Sphinx,
    pagename: str,
    _template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Donne aux gabarits le titre, la description, l’adresse et les langues de la page."""
    language = str(app.config.language)
    title, description = generated_pages().get(pagename, (context.get("title"), ""))
    context["og_title"] = title
    context["description"] = describe(doctree) if doctree else description
    context["metatags"] = ""  # base.html and the theme write them; keywords are for our search
    context["pageurl"] = None if pagename == "404" else address(site_of(app), language, pagename)
    context["og_locale"] = LOCALES[language]
    context["og_other_locales"] = [LOCALES[code] for code in LANGUAGES if code != language]


def sitemap(app: Sphinx) -> str:
    """Renvoie le plan du site : chaque page, et ses adresses dans chaque langue."""
    site = html.escape(site_of(app))
    lines = [SITEMAP_HEAD]
    for docname in sorted(app.env.found_docs):
        lines.append(f"<url><loc>{address(site, str(app.config.language), docname)}</loc>")
        lines += [
            f'<xhtml:link rel="alternate" hreflang="{code}" href="{address(site, code, docname)}"/>'
            for code in LANGUAGES
        ]
        lines.append("</url>")
    return "\n".join([*lines, "</urlset>", ""])


def reading_order(env: BuildEnvironment, docname: str) -> Iterator[str]:
    """Parcourt une page puis celles qu’elle annonce."""
    yield docname
    for child in env.toctree_includes.get(docname, []):
        yield from reading_order(env, child)


def written_description(app: Sphinx, docname: str) -> str:
    """Relit la description dans la page construite, où les renvois sont résolus."""
    page = Path(app.outdir, f"{docname}.html").read_text(encoding="utf-8")
    found = re.search(r'<meta name="description" content="([^"]*)"', page)
    return html.unescape(found[1]) if found else ""


def llms(app: Sphinx) -> str:
    """Renvoie le sommaire que lisent les modèles de langue : https://llmstxt.org."""
    env, language = app.env, str(app.config.language)
    lines = [f"# {env.titles['index'].astext()}", "", f"> {written_description(app, 'index')}"]
    for section in env.toctree_includes["index"]:
        lines += ["", f"## {env.titles[section].astext()}", ""]
        lines += [
            f"- [{env.titles[docname].astext()}]({address(site_of(app), language, docname)}): "
            f"{written_description(app, docname)}"
            for docname in reading_order(env, section)
        ]
    return "\n".join([*lines, ""])


def write_indexes(app: Sphinx, exception: Exception | None) -> None:
    """Écrit, à côté des pages, de quoi les trouver toutes."""
    if exception or app.builder.name != "html":
        return
    folder = Path(app.outdir)
    (folder / "sitemap.xml").write_text(sitemap(app), encoding="utf-8")
    (folder / "llms.txt").write_text(llms(app), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_metadata)
    app.connect("build-finished", write_indexes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
