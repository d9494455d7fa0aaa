"""L’administration du registre dans un vrai navigateur, et les images que le guide en montre.

``PICTURES=1`` récrit les images versionnées ; sans lui, les tests ne font que les relire.
"""

import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.docs.pages import DOCS, LANGUAGES, ROOT, built
from tests.services.stack import eventually

from .screens import DESKTOP

SHOP = "tests.browser.administration"
LIST = "/admin/share_kernel_outbox/delivery/"
FRAMED: ViewportSize = {"width": 1200, "height": 700}  # of the picture that the guide shows
LABELS = {
    "fr": ("État", "Livrer maintenant les livraisons en attente choisies", "Envoyer"),
    "en": ("State", "Deliver the selected waiting deliveries now", "Go"),
}


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Un vrai serveur de Django, sur une base à lui."""
    folder = tmp_path_factory.mktemp("administration")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    env = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": f"{SHOP}.settings",
    }
    for command in (["migrate", "--verbosity", "0"], ["shell", "-c", f"import {SHOP}.fill"]):
        subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=env, check=True)
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        eventually(lambda: answers(port), "the server of the administration")
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def root(admin: str, chromium: Browser, language: str) -> Iterator[Page]:
    """Une page où la gérante est connectée, dans sa langue."""
    context = chromium.new_context(base_url=admin, locale=language, color_scheme="light")
    page = context.new_page()
    page.goto(f"/admin/login/?next={LIST}")
    page.locator("#id_username").fill("camille")
    page.locator("#id_password").fill("camille")
    page.keyboard.press("Enter")
    expect(page.locator("#result_list")).to_be_visible()
    yield page
    context.close()


def picture(language: str) -> Path:
    """Renvoie l’image que le guide montre dans cette langue."""
    return DOCS / "guides" / f"administrer{'' if language == 'fr' else f'.{language}'}.webp"


@pytest.mark.parametrize("language", LANGUAGES)
class TestTheList:
    """Ce que la gérante voit en arrivant."""

    def test_shows_each_column_whole_on_an_ordinary_screen(self, root: Page, language: str) -> None:
        root.set_viewport_size(DESKTOP)
        errors = root.locator(".field-short_error", has_text="does not answer")

        expect(errors.first).to_be_in_viewport(ratio=1)
        results = root.locator("#changelist-form .results")
        assert results.evaluate("node => node.scrollWidth <= node.clientWidth")
        expect(root.locator("#result_list thead")).to_contain_text(LABELS[language][0])

    def test_breaks_names_and_errors_that_have_no_blank(self, root: Page, language: str) -> None:
        root.set_viewport_size(DESKTOP)
        root.goto(f"{LIST}?state=done")
        errors = root.locator(".field-short_error", has_text="carrier.example.com")

        expect(errors).to_be_in_viewport(ratio=1)
        results = root.locator("#changelist-form .results")
        assert results.evaluate("node => node.scrollWidth <= node.clientWidth")

    def test_is_what_the_guide_shows(self, root: Page, language: str) -> None:
        root.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
        root.set_viewport_size(FRAMED)
        root.goto(LIST)
        taken = Image.open(io.BytesIO(root.locator("#changelist-form").screenshot()))
        if os.environ.get("PICTURES"):
            taken.convert("RGB").quantize(16).save(
                picture(language), lossless=True, quality=100, method=6
            )

        with Image.open(picture(language)) as kept:  # the fonts of two machines differ
            assert abs(kept.height - taken.height) < taken.height / 10
            assert kept.width == taken.width

    def test_its_actions_are_those_of_the_guide(self, root: Page, language: str) -> None:
        actions = root.locator("select[name=action] option").all_inner_texts()[1:]
        guide = built(language, "guides/administrer")

        assert len(actions) == 3
        assert [action for action in actions if f"<em>{escape(action)}</em>" not in guide] == []

    def test_makes_a_delivery_due_and_says_so(self, root: Page, language: str) -> None:
        _, action, button = LABELS[language]
        waiting = root.locator("tr", has_text="on strike").nth(LANGUAGES.index(language))
        waiting.locator("input.action-select").check()
        root.locator("select[name=action]").select_option(label=action)
        root.get_by_role("button", name=button, exact=True).click()

        expect(root.locator(".messagelist")).to_contain_text("1.")
