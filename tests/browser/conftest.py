"""Un vrai Chromium devant le site construit, servi en local."""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.docs.pages import SITE
from tests.docs.test_hosting import rules
from tests.services.conftest import missing

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


class Handler(http.server.SimpleHTTPRequestHandler):
    """Sert le site comme un hébergeur : la page 404 de la langue, et pas de journal."""

    def send_error(self, code: int, *args: Any, **kwargs: Any) -> None:
        language = self.path.split("/")[1]
        page = SITE / language / "404.html"
        if code == http.HTTPStatus.NOT_FOUND and page.exists():
            self.send_response(code)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.read_bytes())
        else:
            super().send_error(code, *args, **kwargs)

    def log_message(self, *args: Any) -> None: ...


@contextlib.contextmanager
def served(handler: type[Handler]) -> Iterator[str]:
    """Sert le site, et donne son adresse."""
    assert (SITE / "index.html").exists(), "run `make site` first"
    in_site: Any = functools.partial(handler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), in_site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


RULES = functools.cache(functools.partial(rules, SITE))


class WithHeaders(Handler):
    """Ajoute les en-têtes que le site demande à son hébergeur."""

    def end_headers(self) -> None:
        path = self.path.partition("?")[0]
        for headers in (RULES()["/*"], RULES().get(path, {})):
            for name, value in headers.items():
                self.send_header(name, value)
        super().end_headers()


@pytest.fixture(scope="module")
def hosted() -> Iterator[str]:
    with served(WithHeaders) as address:
        yield address


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    with served(Handler) as address:
        yield address


def find_chromium() -> str:
    """Renvoie le chemin de Chromium : ``CHROMIUM``, ou celui de la machine."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None or not Path(path).exists():
        missing("CHROMIUM: no Chromium found; install the package chromium")
    return path


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Fermé avec ce paquet : Playwright laisse une boucle asyncio, que Django refuse ensuite."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser, address: str) -> Iterator[BrowserContext]:
    context = chromium.new_context(
        base_url=address, locale="fr-FR", permissions=["clipboard-read", "clipboard-write"]
    )
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture(scope="module")
def reader(chromium: Browser, address: str) -> Iterator[Page]:
    """Une page pour tout un fichier de tests : chacun règle ce dont il a besoin avant d’ouvrir."""
    context = chromium.new_context(
        base_url=address,
        locale="fr-FR",
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    yield context.new_page()
    context.close()
