"""Chromium for the tests of pages, and a server for an application."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

EXECUTABLE = "/usr/bin/chromium"
# Without these Chromium talks to its makers.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright. For as long as it is open no other event loop can run in this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def watched(browser: Any, address: str, *, tolerated: Collection[str] = ()) -> Iterator[Callable[..., Any]]:
    """Opens pages of the service at `address`. At the end none may have complained, and none may have asked for anything elsewhere.

    `tolerated` are parts of complaints that may come.
    """
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_one(path: str, scheme: str = "light", width: int = 1920, height: int = 1080, *, scripts: bool = True) -> Any:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}, java_script_enabled=scripts)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{path}: {message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{path}: {error}"))
        page.on("request", lambda request: requests.append(request.url))
        assert page.goto(address + path).ok
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(part in text for part in tolerated)] == []
    assert requests
    assert [url for url in requests if not url.startswith((address, "data:"))] == []


class Server:
    """Serves an application in a thread, without the work it does in the background; `port` 0: any that is free."""

    def __init__(self, app: Any, port: int = 0) -> None:
        config = uvicorn.Config(app, port=port, log_level="error", access_log=False, timeout_graceful_shutdown=1, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of `app` while it is served."""
    server = Server(app)
    yield server.address
    server.stop()
