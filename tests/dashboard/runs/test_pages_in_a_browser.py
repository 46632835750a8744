"""The pages of runs, files and jobs in a real browser: the map of files by keyboard and pointer, actions, accessibility, a phone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Header

from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move
from campaign.states import TaskState
from dashboard.app import create_app
from tests.dashboard.browsing import serving, watched

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="this machine has no axe (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")

RUN = 27305
FILES = 3000
TOKEN = "a-token-of-the-shift-crew"


@pytest.fixture
def asked() -> list[tuple[str, Any, str | None]]:
    """What the pages asked the engine to do: path, body, who."""
    return []


@pytest.fixture
def engine(asked: list[Any], store: Any) -> APIRouter:
    """The two calls of the engine's interface that pages make; a retry is carried out."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/tasks/{task_id}/retry")
    def retry(task_id: int, authorization: Annotated[str | None, Header()] = None) -> dict[str, Any]:
        asked.append((f"/tasks/{task_id}/retry", None, authorization))
        with store.write() as connection:
            (task,) = ledger_tasks.select(connection, task_table.c.id == task_id)
            ledger_tasks.apply(connection, [Move(task, TaskState.READY)], time.time())
        return {}

    @router.post("/commands/{name}")
    def command(name: str, content: Annotated[Any, Body()], authorization: Annotated[str | None, Header()] = None) -> dict[str, Any]:
        asked.append((f"/commands/{name}", content, authorization))
        return {"rows": []}

    return router


@pytest.fixture
def address(site: Any, store: Any, tokens: Any, engine: APIRouter, ledger: Any, quality: Any) -> Iterator[str]:
    now = time.time()
    ledger.campaign()
    for i in range(FILES):
        state = "parked" if i in (700, 1500) else "running" if i > FILES - 30 else "done"
        error = {"error_class": "data", "message": "nf_sp: the file is cut off"} if state == "parked" else {}
        task = ledger.task(RUN, i, state=state, late=state == "parked", **error)
        if state == "parked":
            ledger.attempt(task, log="begins\nthe file is cut off\n", **error)
        if state == "running" and i > FILES - 6:
            ledger.attempt(task, state="running", ended_at=None, started_at=now - 60, heartbeat_at=now - 5, lease_until=now + 600)
    ledger.task(RUN - 1, 0, state="done")
    ledger.file(ledger.tasks[3]["input_did"].partition(":")[2], run=RUN)
    ledger.write()
    quality.run(RUN, bad=1, medium=2, good=3)
    quality.people(RUN, 2)
    slots = SimpleNamespace(wanted=1, reason="one task waits")
    app = create_app(site, store, engine, authenticate=tokens.authenticate, slots=lambda: slots)
    with serving(app) as address:
        yield address


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Any]:
    with watched(browser, address) as open_one:
        yield open_one


def test_the_map_is_walked_by_keyboard_and_told_in_words(open_page: Any, ledger: Any) -> None:
    page = open_page(f"/runs/{RUN}")
    expect(page.locator("#matrix")).to_have_attribute("data-ready", "1")
    readout, area = page.locator("#matrix-readout"), page.locator("#matrix-area")
    expect(readout).to_contain_text("from above: nf_sp, declare, evaluate, dqm_upload, quality")
    area.focus()
    expect(readout).to_contain_text("file 0:")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("file 1: nf_sp done, declare done, evaluate done, dqm_upload done; quality –")
    page.keyboard.press("p")
    expect(readout).to_contain_text("file 700: nf_sp parked, declare waiting")
    expect(readout).to_contain_text("late; data: nf_sp: the file is cut off; np04hd_raw_run027305_0700_")
    page.keyboard.press("p")
    page.keyboard.press("p")
    expect(readout).to_contain_text("file 700:")
    page.keyboard.press("End")
    expect(readout).to_contain_text(f"file {FILES - 1}: nf_sp running")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text(f"file {FILES - 1}:")
    page.keyboard.press("Home")
    page.keyboard.press("p")
    page.keyboard.press("Enter")
    page.wait_for_url("**/files/**")
    expect(page.locator("h1")).to_contain_text("_0700_")


def test_a_click_on_the_map_opens_the_file_under_it(open_page: Any) -> None:
    page = open_page(f"/runs/{RUN}")
    expect(page.locator("#matrix")).to_have_attribute("data-ready", "1")
    canvas = page.locator("#matrix-canvas")
    # The first line begins after the numbers; every cell is at least 3 pixels wide.
    canvas.hover(position={"x": 47, "y": 4})
    expect(page.locator("#matrix-readout")).to_contain_text("file 0:")
    canvas.click(position={"x": 47, "y": 4})
    page.wait_for_url("**/files/**")
    expect(page.locator("h1")).to_contain_text("_0000_")


def test_the_numbers_are_there_without_javascript(open_page: Any) -> None:
    page = open_page(f"/runs/{RUN}", scripts=False)
    expect(page.locator("#matrix")).to_be_hidden()
    expect(page.locator("#matrix-count")).to_contain_text("2 parked")
    page.get_by_role("link", name="parked 2", exact=True).click()
    expect(page.locator(".files-table tbody tr")).to_have_count(2)
    page.goto(page.url.partition("/runs/")[0] + "/parked")
    expect(page.locator(".parked-table tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


def test_the_table_of_runs_is_sorted_and_filtered_in_place(open_page: Any) -> None:
    page = open_page("/runs")
    expect(page.locator(".runs-table tbody tr")).to_have_count(2)
    page.locator("select[name=state]").select_option("parked")
    expect(page.locator(".runs-table tbody tr")).to_have_count(1)
    assert "state=parked" in page.url
    page.go_back()
    expect(page.locator(".runs-table tbody tr")).to_have_count(2)
    page.get_by_role("link", name="files", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("files")
    expect(page.locator(".runs-table tbody th").first).to_have_text(str(RUN))


def test_a_parked_task_is_retried_with_a_token_and_leaves_the_list(open_page: Any, asked: list[Any], ledger: Any) -> None:
    page = open_page("/parked")
    rows = page.locator(".parked-table tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name=f"Retry run {RUN}, file 700").click()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Go on").click()
    expect(rows).to_have_count(1)
    expect(page.locator("#said")).to_have_text("It is tried again.")
    task = next(task for task in ledger.tasks if task["file_index"] == 700)
    assert asked == [(f"/tasks/{task['id']}/retry", None, f"Bearer {TOKEN}")]
    # The token is remembered in this tab.
    page.get_by_role("button", name=f"Waive run {RUN}, file 1500").click()
    page.get_by_label("Why").fill("no beam")
    page.get_by_role("button", name="Waive", exact=True).click()
    expect(page.locator("#said")).to_have_text("It is waived.")
    other = next(task for task in ledger.tasks if task["file_index"] == 1500)
    body = {"files": [other["input_did"]], "campaign": "pdhd-prompt", "version": "v1", "why": "no beam"}
    assert asked[1] == ("/commands/waive", body, f"Bearer {TOKEN}")
    page.get_by_role("button", name="Retry all 1").click()
    expect(page.locator("#said")).to_have_text("They are tried again.")
    assert asked[2] == ("/commands/retry", {"error_class": "data"}, f"Bearer {TOKEN}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(open_page: Any, ledger: Any, scheme: str) -> None:
    parked = next(task["input_did"] for task in ledger.tasks if task["state"] == "parked")
    for path in ("/runs", f"/runs/{RUN}", f"/files/{parked}", "/jobs", "/parked"):
        page = open_page(path, scheme)
        if path == f"/runs/{RUN}":
            expect(page.locator("#matrix")).to_have_attribute("data-ready", "1")
        results = axe.Axe().run(page)
        assert results.response["violations"] == [], f"{path}: {results.generate_report()}"


def test_pages_fit_a_phone_but_for_tables_that_scroll_by_themselves(open_page: Any, ledger: Any) -> None:
    for path in ("/runs", f"/runs/{RUN}", f"/files/{ledger.tasks[3]['input_did']}", "/jobs", "/parked"):
        page = open_page(path, width=390, height=844)
        page.wait_for_timeout(300)
        assert page.evaluate("Math.max(...[...document.querySelectorAll('main > *')].map((e) => e.getBoundingClientRect().right))") <= 390
