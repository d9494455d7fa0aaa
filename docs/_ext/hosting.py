"""Ce que le site demande à son hébergeur : les en-têtes, et les pages de la racine."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
LANGUAGES = {"fr": "Français", "en": "English"}
ELSEWHERE = "https://share-kernel.example"  # where a site that has no address says it is
FOREVER = "public, max-age=31536000, immutable"

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_ASSET = re.compile(r'(?:src|href)="([^/"][^":?]*\.(?:css|js))(\?v=)?[^"]*"')

SITEMAP_INDEX = """\
<?xml version="1.0" encoding="utf-8"?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{entries}
</sitemapindex>
"""


def public_address() -> str:
    """Renvoie l’adresse publique du site, celle de ``SITE_URL``."""
    return (os.environ.get("SITE_URL") or ELSEWHERE).rstrip("/")


def write_root(site: Path, url: str) -> None:
    """Écrit ce que les deux langues partagent : accueil, page 404, index et en-têtes."""
    for template, name in (("home.html", "index.html"), ("not_found.html", "404.html")):
        page = (HERE / template).read_text(encoding="utf-8")
        page = page.replace("{{ site }}", url).replace("{{ path }}", urlsplit(url).path)
        for language in LANGUAGES:
            page = page.replace(f"{{{{ ways {language} }}}}", ways(site / language))
        (site / name).write_text(page, encoding="utf-8")
    entries = "\n".join(
        f"<sitemap><loc>{url}/{language}/sitemap.xml</loc></sitemap>" for language in LANGUAGES
    )
    (site / "sitemap.xml").write_text(SITEMAP_INDEX.format(entries=entries), encoding="utf-8")
    (site / "robots.txt").write_text(
        f"User-agent: *\nAllow: /\n\nSitemap: {url}/sitemap.xml\n", encoding="utf-8"
    )
    (site / "llms.txt").write_text(both_languages(site), encoding="utf-8")
    write_headers(site)


def ways(folder: Path) -> str:
    """Reprend les liens de la page 404 d’une langue, que l’on peut lire à toute adresse."""
    found = re.search(
        r'<ul class="ways">.*?</ul>', (folder / "404.html").read_text("utf-8"), re.DOTALL
    )
    return found[0] if found else ""


def both_languages(site: Path) -> str:
    """Réunit les sommaires des deux langues en un seul, à la racine."""
    titles, summaries, sections = [], [], []
    for language in LANGUAGES:
        title, summary, rest = (
            (site / language / "llms.txt").read_text(encoding="utf-8").split("\n\n", 2)
        )
        titles.append(title.removeprefix("# "))
        summaries.append(summary)
        sections.append(rest.replace("## ", f"## {language} · "))
    return f"# {' – '.join(titles)}\n\n" + "\n>\n".join(summaries) + "\n\n" + "\n".join(sections)


def hashes(site: Path) -> dict[str, list[str]]:
    """Renvoie l’empreinte de chaque script et de chaque style écrits dans les pages."""
    found: dict[str, set[str]] = {"script": set(), "style": set()}
    for page in site.rglob("*.html"):
        for kind, content in _INLINE.findall(page.read_text(encoding="utf-8")):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            found[kind].add(f"'sha256-{digest}'")
    return {kind: sorted(digests) for kind, digests in found.items()}


def security_headers(site: Path) -> dict[str, str]:
    """Renvoie les en-têtes que chaque réponse porte."""
    allowed = hashes(site)
    policy = {
        "default-src": ["'none'"],
        # wasm: Python, in the pages that run their examples. It lets no text become code.
        "script-src": ["'self'", "'wasm-unsafe-eval'", *allowed["script"]],
        "style-src": ["'self'", *allowed["style"]],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],  # the search shows an extract of each page it found
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return {
        "Content-Security-Policy": "; ".join(
            f"{name} {' '.join(sources)}" for name, sources in policy.items()
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }


def versioned(site: Path) -> list[str]:
    """Renvoie les fichiers que chaque page demande avec leur empreinte, ``?v=``."""
    asked: dict[bool, set[Path]] = {True: set(), False: set()}
    for page in site.rglob("*.html"):
        for address, version in _ASSET.findall(page.read_text(encoding="utf-8")):
            asked[bool(version)].add((page.parent / address).resolve())
    return sorted(
        f"/{path.relative_to(site.resolve()).as_posix()}" for path in asked[True] - asked[False]
    )


def kept(site: Path) -> list[str]:
    """Renvoie les fichiers du moteur dont le nom change avec le contenu."""
    names = [*(site / "engine").glob("*/*"), *(site / "engine").glob("project.*")]
    return sorted(f"/{path.relative_to(site).as_posix()}" for path in names)


def write_headers(site: Path) -> None:
    """Écrit les en-têtes pour les hébergeurs qui lisent ``_headers``, et pour nginx."""
    headers = security_headers(site)
    lines = ["/*", *(f"  {name}: {value}" for name, value in headers.items())]
    for path in [*versioned(site), *kept(site)]:
        lines += [path, f"  Cache-Control: {FOREVER}"]
    (site / "_headers").write_text("\n".join([*lines, ""]), encoding="utf-8")
    nginx = [f'add_header {name} "{value}" always;' for name, value in headers.items()]
    (site.parent / "headers.nginx.conf").write_text("\n".join([*nginx, ""]), encoding="utf-8")
