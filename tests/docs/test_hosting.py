"""Ce qu’un hébergeur reçoit, et ce que ``make serve`` montre à qui écrit."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import yaml

from .making import HERE
from .pages import ROOT, SITE

SUBPATH = "https://example.org/docs"
DEADLINE = 180  # two builds on a slow machine


def rules(site: Path) -> dict[str, dict[str, str]]:
    """Lit ``_headers`` comme le font les hébergeurs : un chemin, puis ses en-têtes."""
    found: dict[str, dict[str, str]] = {}
    path = ""
    for line in (site / "_headers").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            name, _, value = line.strip().partition(": ")
            found[path][name] = value
        else:
            path = line
            found[path] = {}
    return found


def test_every_response_carries_the_security_headers() -> None:
    headers = rules(SITE)["/*"]

    # WebAssembly may be compiled, for the blocks that run; a text never becomes code.
    policy = headers["Content-Security-Policy"].replace("'wasm-unsafe-eval'", "")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Cache-Control" not in headers  # hosts join the values of two rules


def test_a_page_has_no_style_or_handler_in_its_attributes() -> None:
    """Une politique de sécurité les refuse tous, quel que soit leur contenu."""
    for path in SITE.rglob("*.html"):
        page = re.sub(r"<pre>.*?</pre>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r'<[^>]+ (?:style|on[a-z]+)="[^"]*"', page) == [], path


def test_only_files_asked_with_their_fingerprint_are_kept_forever() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in SITE.rglob("*.html"))
    kept = [path for path, headers in rules(SITE).items() if "immutable" in str(headers)]

    assert kept
    for path in kept:
        assert (SITE / path.removeprefix("/")).is_file(), path
        if path.startswith("/engine/"):  # its name changes with its content
            assert re.search(r"/[0-9a-f]{12}/|\.[0-9a-f]{12}\.", path), path
            continue
        name = re.escape(path.split("/_static/")[1])
        asked = re.findall(rf'_static/{name}(\?v=)?[^"]*"', pages)
        assert asked, path
        assert "" not in asked, f"{path} is asked without its fingerprint"
    assert not [path for path in kept if path.endswith((".html", "searchindex.js"))]


def test_nginx_gets_the_same_headers() -> None:
    text = (SITE.parent / "headers.nginx.conf").read_text(encoding="utf-8")

    assert dict(re.findall(r'add_header ([\w-]+) "([^"]*)" always;', text)) == rules(SITE)["/*"]


def test_read_the_docs_publishes_the_root_and_both_languages(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text(encoding="utf-8"))
    build, *publish = config["build"]["jobs"]["build"]["html"]
    (tmp_path / "html").mkdir()  # the host may have made it

    for command in publish:
        environment = os.environ | {"READTHEDOCS_OUTPUT": str(tmp_path)}
        subprocess.run(command, shell=True, check=True, cwd=ROOT, env=environment)

    script = re.fullmatch(r'SITE_URL="\$READTHEDOCS_CANONICAL_URL" python (\S+)', build)
    assert script
    assert (ROOT / script[1]).is_file()
    for name in ("index.html", "404.html", "robots.txt", "fr/index.html", "en/index.html"):
        assert (tmp_path / "html" / name).is_file(), name


class Writer:
    """Quelqu’un qui écrit dans une copie du projet, devant ``make serve``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "serve.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "serve", f"PORT={self.port}", *HERE],
                cwd=folder, start_new_session=True,
                env=os.environ
                | {"SITE_URL": f"{SUBPATH}/", "DJANGO_SETTINGS_MODULE": "conf.settings"},
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def shown(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"
        except OSError:
            return ""

    def wait(self, is_done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + DEADLINE
        while not is_done():
            assert self.process.poll() is None, self.shown()
            assert time.monotonic() < end, f"{what}\n{self.shown()}"
            time.sleep(0.2)

    def shows(self, path: str, text: str) -> None:
        self.wait(lambda: text in self.get(path), f"{path} never showed {text!r}")

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it stopped by itself: the log says why
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    folder = tmp_path_factory.mktemp("project")
    for name in ("docs", "locale", "src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "CHANGELOG.md"):
        shutil.copy2(ROOT / name, folder / name)
    writer = Writer(folder)
    try:
        writer.wait(lambda: "<html" in writer.get("/fr/index.html"), "make serve never answered")
        yield writer
    finally:
        writer.stop()


def test_a_new_sentence_then_its_translation_show(writer: Writer) -> None:
    writer.append("docs/guides/tester.md", "\nUne phrase toute neuve.\n")
    writer.shows("/fr/guides/tester.html", "Une phrase toute neuve.")
    writer.shows("/en/guides/tester.html", "Une phrase toute neuve.")

    writer.append(
        "locale/en/LC_MESSAGES/guides/tester.po",
        '\nmsgid "Une phrase toute neuve."\nmsgstr "A brand new sentence."\n',
    )

    writer.shows("/en/guides/tester.html", "A brand new sentence.")


def test_a_docstring_shows(writer: Writer) -> None:
    source = writer.folder / "src/share_kernel/testing.py"
    text = source.read_text(encoding="utf-8")

    source.write_text(
        re.sub(r'(def record_events.*?""")', r"\1Une docstring neuve. ", text, flags=re.DOTALL),
        encoding="utf-8",
    )

    writer.shows("/fr/modules/testing.html", "Une docstring neuve.")


def test_a_fault_is_shown_and_the_server_goes_on(writer: Writer) -> None:
    writer.append("docs/glossaire.md", "\nVoir [](nulle-part.md). Phrase avant la faute.\n")

    writer.shows("/fr/glossaire.html", "Phrase avant la faute.")

    writer.wait(
        lambda: re.search(r"glossaire\.md:\d+: .*nulle-part", writer.shown()) is not None,
        "the warning was never shown",
    )
    writer.append("docs/glossaire.md", "\nPhrase après la faute.\n")
    writer.shows("/fr/glossaire.html", "Phrase après la faute.")


def test_a_page_reloads_itself_in_the_browser(writer: Writer) -> None:
    assert "websocket-reload" in writer.get("/en/index.html")


def test_nobody_else_reaches_the_server(writer: Writer) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", writer.port), timeout=5)


@pytest.mark.parametrize("where", ["", "fr/", "en/"])
def test_the_404_page_works_at_any_depth_under_a_subpath(writer: Writer, where: str) -> None:
    """Lue à n’importe quelle adresse : rien n’y est relatif."""
    page = writer.get(f"/{where}404.html")
    linked = re.findall(r'<(?:a|link|script)\b[^>]*?(?:href|src)="([^"#]+)"', page)

    assert linked
    for link in linked:
        if urlsplit(link).netloc not in {"", urlsplit(SUBPATH).netloc}:
            continue  # the credits of the theme
        path = urlsplit(urljoin(f"{SUBPATH}/{where}a/b/c.html", link)).path
        assert path.startswith("/docs/"), link
        target = writer.folder / "build/site" / path.removeprefix("/docs/")
        assert (target / "index.html" if path.endswith("/") else target).is_file(), link


def test_a_missing_page_gets_the_page_of_the_root(writer: Writer) -> None:
    page = writer.get("/nowhere/at/all.html")

    assert page.startswith("404 ")
    assert "Page introuvable" in page
    assert "Page not found" in page


def test_the_subpath_is_in_every_public_address(writer: Writer) -> None:
    for path in ("/index.html", "/llms.txt", "/robots.txt", "/sitemap.xml", "/en/sitemap.xml",
                 "/fr/guides/tester.html"):  # fmt: skip
        found = re.findall(r"https://example\.org[^\s<>\"')]*", writer.get(path))
        assert found, path
        assert [url for url in found if not url.startswith(f"{SUBPATH}/")] == [], path
