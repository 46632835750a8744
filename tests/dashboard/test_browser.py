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

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
expect = sync_api.expect

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
    with sync_api.sync_playwright() as playwright:
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
    for i in range(30):
        last = i == 29
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


def finish(store: Any, number: int) -> None:
    """Let some running tasks be done, as the engine would."""
    with store.write() as connection:
        tasks = ledger_tasks.select(connection, task_table.c.state == TaskState.RUNNING, limit=number)
        assert len(tasks) == number
        ledger_tasks.apply(connection, [Move(task, TaskState.DONE, None, {"done_at": time.time()}) for task in tasks], time.time())


@pytest.mark.parametrize(("scheme", "background"), [("light", "rgb(243, 245, 248)"), ("dark", "rgb(12, 17, 23)")])
def test_both_pages_are_complete_in_light_and_dark(open_page: Any, pictures: Path, scheme: str, background: str) -> None:
    page = open_page("/?window=1h", scheme)
    expect(page.locator("#rates-plot")).to_have_attribute("data-ready", "1")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.screenshot(path=pictures / f"operations-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollHeight") <= 1080
    expect(page.locator("body")).to_have_css("background-color", background)

    page = open_page(f"/runs/{RUN}", scheme)
    for plot in ("rms", "pedestal", "spectrum", "trend", "hits"):
        expect(page.locator(f"#{plot}-plot canvas")).to_be_visible()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.locator(".displays img").last.scroll_into_view_if_needed()
    for i in range(3):
        expect(page.locator(".displays img").nth(i)).to_have_js_property("naturalWidth", 640)
    page.screenshot(path=pictures / f"run-{scheme}.png", full_page=True)


def test_news_arrive_by_themselves_and_can_be_paused(open_page: Any, store: Any) -> None:
    page = open_page("/")
    done, pill = page.locator(".hero .legend .done + b"), page.locator("#live")
    expect(pill).to_have_attribute("data-state", "live")
    before = int(done.inner_text())
    finish(store, 3)
    expect(done).to_have_text(str(before + 3))

    page.locator("#pause").click()
    expect(pill).to_have_attribute("data-state", "paused")
    finish(store, 1)
    page.wait_for_timeout(1300)
    assert done.inner_text() == str(before + 3)
    page.locator("#pause").click()
    expect(done).to_have_text(str(before + 4))

    page.get_by_role("link", name="24 h", exact=True).click()
    expect(page.locator(".latency")).to_contain_text("in the last 24 h")
    assert page.url.endswith("?window=24h")


def test_the_run_page_keeps_its_state_in_the_address_and_shows_new_records(open_page: Any, upload: Any, record: Any) -> None:
    page = open_page(f"/runs/{RUN}")
    page.get_by_role("navigation", name="Element").get_by_role("link", name="P02NL").click()
    expect(page.locator(".metrics tr.current th")).to_contain_text("P02NL")
    page.get_by_role("navigation", name="Trend").get_by_role("link", name="hits").click()
    expect(page.locator("#trend-plot")).to_have_attribute("aria-label", "hits of P02NL over the files of the run, by plane")
    page.locator(".cells .cell").nth(12).click()
    expect(page.locator(".file-choice")).to_contain_text("file 12")
    for part in ("element=P02NL", "trend=hits", "_0012_"):
        assert part in page.url
    expect(page.locator("#trend-plot canvas")).to_be_visible()
    page.go_back()
    expect(page.locator(".file-choice")).to_contain_text("file 29")

    judged = page.locator("#quality header .detail")
    expect(judged).to_have_text("27 of 60 files judged")
    assert upload(record(RUN, 40, channels=30, elements=3), pictures={}).status_code == 201
    expect(judged).to_have_text("28 of 60 files judged", timeout=10_000)


def test_pages_fit_a_phone_and_remember_the_theme(open_page: Any, pictures: Path) -> None:
    for name, path in (("operations", "/"), ("run", f"/runs/{RUN}"), ("runs", "/runs")):
        page = open_page(path, width=390, height=844)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=pictures / f"phone-{name}.png", full_page=True)
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
