"""Construit le site français et anglais, côte à côte, dans ``build/site``.

``preview`` ne reconstruit que ce qui a changé et montre les avertissements sans échouer : c’est
ce que ``make serve`` relance à chaque changement.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import archive
import catalogues
import engine
import hosting

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "site"
STATIC = ROOT / "docs" / "_static"
DOCTREES = ROOT / "build" / "doctrees"  # apart from the site: it is not published
LANGUAGES = hosting.LANGUAGES
STRICT = ("-W", "--keep-going")  # a warning fails the build


def start(language: str, options: tuple[str, ...]) -> subprocess.Popen[str]:
    """Lance la construction d’une langue."""
    return subprocess.Popen(
        [sys.executable, "-m", "sphinx", "-q", "-n", *options, "-b", "html",
         "-D", f"language={language}", "-d", str(DOCTREES / language),
         "docs", str(SITE / language)],
        cwd=ROOT,
        env=os.environ | {"DOCS_LANG": language, "PYTHONWARNINGS": "ignore"},
        text=True,
    )  # fmt: skip


def build(options: tuple[str, ...]) -> list[str]:
    """Construit les deux langues et la racine ; renvoie les langues qui ont échoué."""
    builds = {language: start(language, options) for language in LANGUAGES}
    failed = [language for language, build in builds.items() if build.wait() != 0]
    if not failed:
        if engine.MANIFEST.exists():
            shutil.copytree(engine.ENGINE, SITE / "engine", dirs_exist_ok=True)
        for language in LANGUAGES:
            archive.write(language, SITE / language / archive.NAME)
            (SITE / language / "licenses.txt").write_text(engine.licenses(), encoding="utf-8")
        hosting.write_root(SITE, hosting.public_address())
        shutil.copy(STATIC / "favicon.svg", SITE / "favicon.svg")
    return failed


def preview() -> int:
    """Met à jour ce qui a changé ; une erreur se lit, et le serveur continue."""
    failed = build(())
    if failed:
        print(f"Sphinx failed in: {', '.join(failed)}. The pages served are the old ones.")
    return 0


def main() -> int:
    """Construit tout, dit ce qui est fait et ce qui manque ; renvoie le code de sortie."""
    began = time.monotonic()
    print(f"Building the site in {' and '.join(LANGUAGES)} …", flush=True)
    for stale in (SITE, DOCTREES):  # a page that was renamed must not linger
        shutil.rmtree(stale, ignore_errors=True)
    if missing := engine.prepare():
        print(f"  {missing}", flush=True)
        if os.environ.get("REQUIRE_ALL") == "1":
            return 1
    failed = build(STRICT)
    if failed:
        print(
            f"Sphinx reported problems in: {', '.join(failed)}. Each line above names its file; "
            "docs/contribuer/ecrire-un-guide.md says what to do.",
            file=sys.stderr,
        )
        return 1
    for language in LANGUAGES:
        pages = len(list((SITE / language).rglob("*.html")))
        print(f"  {language}: {pages} pages in build/site/{language}")
    behind = catalogues.late()
    if behind:
        print(f"  {len(behind)} English messages are late: `make check` names them.")
    print(f"Done in {time.monotonic() - began:.0f} s. Open build/site/index.html, or `make serve`.")
    return 0


if __name__ == "__main__":
    sys.exit(preview() if sys.argv[1:] == ["preview"] else main())
