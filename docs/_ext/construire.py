"""Construit le site français et anglais, côte à côte, dans ``build/site``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import catalogues

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
STATIC = ROOT / "docs" / "_static"
DOCTREES = ROOT / "build" / "doctrees"  # apart from the site: it is not published
LANGUAGES = ("fr", "en")


def start(language: str) -> subprocess.Popen[str]:
    """Lance la construction d’une langue ; un avertissement de Sphinx la fait échouer."""
    return subprocess.Popen(
        [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html",
         "-D", f"language={language}", "-d", str(DOCTREES / language),
         "docs", str(SITE / language)],
        cwd=ROOT,
        env=os.environ | {"DOCS_LANG": language, "PYTHONWARNINGS": "ignore"},
        text=True,
    )  # fmt: skip


def main() -> int:
    """Construit tout, dit ce qui est fait et ce qui manque ; renvoie le code de sortie."""
    began = time.monotonic()
    print(f"Building the site in {' and '.join(LANGUAGES)} …", flush=True)
    for stale in (SITE, DOCTREES):  # a page that was renamed must not linger
        shutil.rmtree(stale, ignore_errors=True)
    builds = {language: start(language) for language in LANGUAGES}
    failed = [language for language, build in builds.items() if build.wait() != 0]
    if failed:
        print(f"Sphinx reported problems in: {', '.join(failed)}.", file=sys.stderr)
        return 1
    root_page = (Path(__file__).parent / "accueil.html").read_text(encoding="utf-8")
    site_url = os.environ.get("SITE_URL", "https://share-kernel.example/").rstrip("/")
    (SITE / "index.html").write_text(root_page.replace("{{ site }}", site_url), encoding="utf-8")
    shutil.copy(STATIC / "favicon.svg", SITE / "favicon.svg")
    for language in LANGUAGES:
        pages = len(list((SITE / language).rglob("*.html")))
        print(f"  {language}: {pages} pages in build/site/{language}")
    behind = catalogues.late()
    if behind:
        print(f"  {len(behind)} English messages are late: `make check` names them.")
    print(f"Done in {time.monotonic() - began:.0f} s. Open build/site/index.html, or `make serve`.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
