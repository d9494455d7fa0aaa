"""Ce que coûtent les pages vivantes, dans Chromium : octets, et secondes de calcul du navigateur.

Des secondes de calcul, et non de montre : elles dépendent du processeur, pas de ce que fait
d’autre la machine. ``BENCH_RESULTS`` change le fichier écrit, ``CHROMIUM`` le navigateur.
"""

from __future__ import annotations

import json
import os
import statistics
from importlib.metadata import version

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from .__main__ import ROOT, as_json, set_up, show
from .measuring import Row

PAGE = "/fr/tutoriel/facture-approuvee.html"
PRESSES = 20
RESULTS = ROOT / os.environ.get("BENCH_RESULTS", "build/bench-live.json")


def main() -> None:
    """Presse les boutons d’une page, écrit le JSON, affiche le tableau."""
    set_up(database="sqlite://:memory:", broker="memory://", outbox=True)
    from tests.browser.conftest import QUIET, WithHeaders, find_chromium, served

    with sync_playwright() as playwright, served(WithHeaders) as address:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        rows = measured(browser, address)
        found = {"Chromium": browser.version, "django": version("django")}
        browser.close()
    RESULTS.parent.mkdir(exist_ok=True)
    written = as_json({"live": rows}) | {"rounds": PRESSES, "versions": found}
    RESULTS.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", "utf-8")
    show(rows)
    print(f"\nWritten to {RESULTS}")


def measured(browser: Browser, address: str) -> list[Row]:
    """Presse le dernier bouton d’une page, une première fois puis vingt."""
    from tests.browser.test_weight import weight

    page = browser.new_page(base_url=address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(PAGE, wait_until="networkidle")
    before = [url for url in asked if "/live" in url]
    asked.clear()
    session = browser.new_browser_cdp_session()
    first = pressed(page, session)
    downloaded = sum(map(weight, set(asked))) / 1e6
    waiting = sum(map(weight, before)) / 1e3
    later = [pressed(page, session) for _ in range(PRESSES)]
    return [
        Row("live-before", "before the first press", "a kilobyte", waiting, 0, 1.0),
        Row("live-bytes", "download of the first press", "a megabyte", downloaded, 0, 8.0),
        Row("live-first", "computing of the first press", "a second", first, first, 5.0),
        Row("live-later", "computing of a later press, median", "a second",
            statistics.median(later), statistics.median(later), 0.3),
    ]  # fmt: skip


def pressed(page: Page, session: CDPSession) -> float:
    """Presse le dernier bouton ; renvoie les secondes de calcul que cela a coûtées."""
    began = computing(session)
    last = page.locator("div.live").last
    last.locator(".live-bar button").first.click()
    last.locator(".live-bar:not(.live-busy) .live-status:not(:empty)").wait_for(timeout=120_000)
    return computing(session) - began


def computing(session: CDPSession) -> float:
    """Renvoie les secondes de calcul de ce qui affiche et exécute la page."""
    told = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return float(sum(item["cpuTime"] for item in told if item["type"] == "renderer"))


if __name__ == "__main__":
    main()
