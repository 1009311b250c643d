"""The browser's tests: the real server, a scripted model, host pages on a port of their own, and Chromium.

Run in a process of their own, without gevent's patches: `pytest tests/browser`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
START_S = 60.0

expect.set_options(timeout=15_000)


# -- processes ---------------------------------------------------------------------------------------------------------


@contextmanager
def running(*command: str, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, stopped at the end."""
    clean = {name: value for name, value in os.environ.items() if name not in ("ANTHROPIC_API_KEY", "REDIS_URL")}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env={**clean, **environ}, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args!r} does not answer:\n{log.read_text('utf-8', 'replace')[-4000:]}")
        time.sleep(0.05)


def reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Model:
    """The model that answers: scripted from here, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def script(self, **entry: Any) -> None:
        self._post("/_demo/script", entry)

    def clear(self) -> None:
        request = urllib.request.Request(f"{self.url}/_demo/script", method="DELETE")
        urllib.request.urlopen(request, timeout=5).close()

    def _post(self, path: str, body: Any) -> None:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()


@pytest.fixture(scope="session")
def _model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    log, port = tmp_path_factory.mktemp("model") / "log", free_port()
    with running(sys.executable, "-m", "demo", "--port", str(port), log=log) as process:
        model = Model(f"http://127.0.0.1:{port}")
        eventually(lambda: _listens(port), process, log)
        yield model


@pytest.fixture
def model(_model: Model) -> Iterator[Model]:
    yield _model
    _model.clear()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def parlance(folder: Path, **environ: str) -> Iterator[str]:
    """`serve.py` on a free port: its address, without a slash at its end."""
    log, port = folder / "log", free_port()
    environ |= {"PORT": str(port), "PARLANCE_DATA": str(folder / "data"), "WEB_CONCURRENCY": "1"}
    with running(sys.executable, "serve.py", log=log, **environ) as process:
        base = f"http://127.0.0.1:{port}"
        eventually(lambda: reachable(f"{base}/readyz"), process, log)
        yield base


@pytest.fixture(scope="session")
def server(_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The house with the scripted model behind it, and the two sites of this folder."""
    folder = tmp_path_factory.mktemp("parlance")
    redis = folder / "redis"
    redis.mkdir()
    store = embedded(redis)
    url = store.start()
    try:
        environ = {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": _model.url, "REDIS_URL": url}
        subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "sites", "apply", *map(str, sorted(HERE.glob("*.yaml")))],
            cwd=ROOT,
            env={**os.environ, **environ, "PARLANCE_DATA": str(folder / "data")},
            check=True,
            capture_output=True,
        )
        with parlance(folder, **environ) as base:
            yield base
    finally:
        store.stop()


def embedded(folder: Path) -> Any:
    from parlance.store.embedded import Embedded

    return Embedded(folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The house as `make run` starts it: no key, the demo responder, the demo website."""
    with parlance(tmp_path_factory.mktemp("demo")) as base:
        yield base


class Wire:
    """A line to the server that can be cut, with all that is on it."""

    def __init__(self, url: str) -> None:
        self._server = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._whole = True
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole = False
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def mend(self) -> None:
        self._whole = True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._whole:
                near.close()
                continue
            far = socket.create_connection(self._server)
            self._ends += [near, far]
            threading.Thread(target=_relay, args=(near, far), daemon=True).start()


def _relay(near: socket.socket, far: socket.socket) -> None:
    """Both ways, until one end is closed."""
    with near, far:
        back = threading.Thread(target=_carry, args=(far, near), daemon=True)
        back.start()
        _carry(near, far)
        back.join()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(server: str) -> Iterator[Wire]:
    wire = Wire(server)
    yield wire
    wire.close()


# -- host pages --------------------------------------------------------------------------------------------------------


class Host:
    """Somebody's website, on an origin of its own. `pages` maps a path to its HTML and the policy that it sends."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, tuple[str, str]] = {}

    def page(self, path: str, body: str, *, policy: str = "", html: str = 'lang="en"', head: str = "") -> str:
        """Publishes a page, and gives its address."""
        document = (
            f"<!doctype html><html {html}><head><meta charset=utf-8><meta name=viewport "
            f'content="width=device-width, initial-scale=1"><title>Page {path}</title>{head}</head>'
            f"<body><main><h1>{path}</h1>{body}</main></body></html>"
        )
        self.pages[path] = (document, policy)
        return self.url + path


@pytest.fixture(scope="session")
def _host() -> Iterator[Host]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = host.pages.get(self.path.split("?")[0])
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            if page and page[1]:
                self.send_header("Content-Security-Policy", page[1])
            self.end_headers()
            self.wfile.write(page[0].encode() if page else b"")

        def log_message(self, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = Host(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield host
    server.shutdown()
    server.server_close()


@pytest.fixture
def host(_host: Host) -> Iterator[Host]:
    yield _host
    _host.pages.clear()


@pytest.fixture
def tag(server: str) -> str:
    """The script tag as the docs print it."""
    return f'<script src="{server}/widget.js" data-site="fern" async></script>'


@pytest.fixture
def strict(server: str) -> str:
    """The strictest policy that a widget can be asked to live with."""
    return f"default-src 'none'; script-src {server}; connect-src {server}; require-trusted-types-for 'script'"


@pytest.fixture
def home(host: Host, tag: str, strict: str) -> str:
    """A page with the widget, under the strict policy; `/about` beside it."""
    host.page("/about", f'<a href="/home">Home</a>{tag}', policy=strict)
    return host.page("/home", f'<a href="/about">About</a>{tag}', policy=strict)


# -- the browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.fail("No Chromium on the PATH: install Debian's `chromium`, or Google Chrome.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


class Guests:
    """Browser contexts, each a visitor of their own. At the end: nothing was asked of strangers, no script failed."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.requests: list[str] = []
        self.errors: list[str] = []

    def context(self, **options: Any) -> BrowserContext:
        usual = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}
        context = self._browser.new_context(**{**usual, **options})
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("console", self._note)
        self._contexts.append(context)
        return context

    def visit(self, url: str, **options: Any) -> Chat:
        page = self.context(**options).new_page()
        page.goto(url)
        return Chat(page)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def guests(browser: Browser) -> Iterator[Guests]:
    guests = Guests(browser)
    yield guests
    guests.close()
    assert [url for url in guests.requests if not url.startswith("http://127.0.0.1:")] == []
    assert guests.errors == []


class Chat:
    """The widget on a page, by what a visitor sees of it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def launcher(self) -> Locator:
        return self.page.locator("parlance-chat .launcher")

    @property
    def panel(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def field(self) -> Locator:
        return self.panel.get_by_role("textbox")

    @property
    def send(self) -> Locator:
        return self.panel.get_by_role("button", name="Send")

    @property
    def stop(self) -> Locator:
        return self.panel.get_by_role("button", name="Stop answering")

    @property
    def questions(self) -> Locator:
        return self.panel.locator(".visitor .prose")

    @property
    def answers(self) -> Locator:
        return self.panel.locator(".assistant")

    @property
    def answer(self) -> Locator:
        return self.answers.last

    @property
    def prose(self) -> Locator:
        return self.answer.locator(".prose")

    def open(self) -> Chat:
        self.launcher.click()
        expect(self.panel).to_be_visible()
        expect(self.panel.get_by_role("heading").first).not_to_be_empty()
        return self

    def ask(self, text: str) -> Chat:
        self.field.fill(text)
        self.field.press("Enter")
        return self

    def complete(self, text: str | None = None) -> Chat:
        """Waits for the last answer's end."""
        expect(self.answer).to_have_attribute("data-state", "complete")
        if text is not None:
            expect(self.prose).to_have_text(text)
        return self

    def kept(self, site: str = "fern") -> dict[str, Any]:
        return dict(json.loads(self.page.evaluate("key => localStorage.getItem(key)", f"parlance:{site}") or "{}"))
