"""The pages in a real browser, light and dark: nothing complains, nothing comes from outside, news arrive by themselves.

The screenshots go to a temporary folder, or to DUNE_PROMPT_SCREENSHOTS.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move
from campaign.states import TaskState
from declare_daemon.journal.writer import lease_name

pytestmark = pytest.mark.needs("chromium")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RUN = 27304


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("DUNE_PROMPT_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def address(served: str, ledger: Any, busy: Any, upload: Any, record: Any, make_png: Any, lease: Any, site: Any) -> str:
    """A busy site with data quality of its newest run."""
    now = time.time()
    busy(ledger, now)
    ledger.write()
    lease("engine", now + 3600)
    lease(lease_name(site.buffer.path), now + 3600)
    for i in range(0, 40, 1):
        last = i == 39
        content = record(RUN, i, channels=800 if last else 30, elements=3)
        pngs = (
            {p["name"]: make_png(640, 512, len(p["element"] + p["plane"]) + ord(p["plane"])) for p in content["pictures"]} if last else {}
        )
        if i not in (7, 8, 20):
            assert upload(content, pictures=pngs).status_code == 201
    return served


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    """Open a page; at the end nothing may have complained, and nothing may have come from elsewhere."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_one(path: str, scheme: str = "light", width: int = 1920, height: int = 1080) -> Any:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        assert page.goto(address + path).ok
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
    assert requests
    assert [url for url in requests if not url.startswith(address)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_operations_page_is_one_screen_and_lives(open_page: Any, pictures: Path, ledger: Any, store: Any, scheme: str) -> None:
    from playwright.sync_api import expect

    page = open_page("/?window=1h", scheme)
    expect(page.locator("#rates-plot")).to_have_attribute("data-ready", "1")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.screenshot(path=pictures / f"operations-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollHeight") <= 1080
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(12, 17, 23)") == (scheme == "dark")

    done = page.locator(".hero .legend .done + b")
    before = int(done.inner_text())
    with store.write() as connection:
        tasks = ledger_tasks.select(connection, task_table.c.state == TaskState.RUNNING, limit=3)
        ledger_tasks.apply(connection, [Move(task, TaskState.DONE, None, {"done_at": time.time()}) for task in tasks], time.time())
    expect(done).to_have_text(str(before + 3))

    page.locator("#pause").click()
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    with store.write() as connection:
        tasks = ledger_tasks.select(connection, task_table.c.state == TaskState.RUNNING, limit=1)
        ledger_tasks.apply(connection, [Move(task, TaskState.DONE, None, {"done_at": time.time()}) for task in tasks], time.time())
    page.wait_for_timeout(1500)
    assert done.inner_text() == str(before + 3)
    page.locator("#pause").click()
    expect(done).to_have_text(str(before + 4))

    page.get_by_role("link", name="24 h", exact=True).click()
    expect(page.locator(".latency")).to_contain_text("in the last 24 h")
    assert page.url.endswith("?window=24h")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_run_page_draws_its_plots_and_keeps_its_state_in_the_address(
    open_page: Any, pictures: Path, upload: Any, record: Any, scheme: str
) -> None:
    from playwright.sync_api import expect

    page = open_page(f"/runs/{RUN}", scheme)
    for plot in ("rms", "pedestal", "spectrum", "trend", "hits"):
        expect(page.locator(f"#{plot}-plot canvas")).to_be_visible()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.locator(".displays img").first.scroll_into_view_if_needed()
    expect(page.locator(".displays img")).to_have_count(3)
    assert page.evaluate("Array.from(document.querySelectorAll('.displays img'), (i) => i.complete && i.naturalWidth)") == [640] * 3
    page.screenshot(path=pictures / f"run-{scheme}.png", full_page=True)

    page.get_by_role("navigation", name="Element").get_by_role("link", name="P02NL").click()
    expect(page.locator(".metrics tr.current th")).to_contain_text("P02NL")
    page.get_by_role("navigation", name="Trend").get_by_role("link", name="hits").click()
    expect(page.locator("#trend-plot")).to_have_attribute("aria-label", "hits of P02NL over the files of the run, by plane")
    page.locator(".cells .cell").nth(12).click()
    expect(page.locator(".file-choice")).to_contain_text("file 12")
    assert "element=P02NL" in page.url
    assert "trend=hits" in page.url
    assert "_0012_" in page.url
    expect(page.locator("#trend-plot canvas")).to_be_visible()
    page.go_back()
    expect(page.locator(".file-choice")).to_contain_text("file 39")

    judged = page.locator("#quality header .detail")
    expect(judged).to_have_text("37 of 60 files judged")
    assert upload(record(RUN, 40, channels=30, elements=3), pictures={}).status_code == 201
    expect(judged).to_have_text("38 of 60 files judged", timeout=10_000)


@pytest.mark.parametrize("path", ["/", f"/runs/{RUN}", "/runs"])
def test_pages_fit_a_phone(open_page: Any, pictures: Path, path: str) -> None:
    page = open_page(path, width=390, height=844)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=pictures / f"phone-{path.strip('/').replace('/', '-') or 'operations'}.png", full_page=True)


def test_the_theme_is_remembered(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page("/runs", "light")
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
