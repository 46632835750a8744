"""All pages in a real browser: nothing complains, nothing comes from elsewhere, everybody can read them, news arrive by themselves."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move
from campaign.states import TaskState
from dashboard.dqm.rollup import Roller
from declare_daemon.journal.writer import lease_name
from tests.dashboard.browsing import Server, watched
from tests.dashboard.pages_of_a_site import PAGES, RUN

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="this machine has no axe-playwright-python (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")

BACKGROUND = {"light": "rgb(243, 245, 248)", "dark": "rgb(12, 17, 23)"}


@dataclass
class Service:
    """The service on one port, which can be stopped and started again."""

    new_app: Callable[[], Any]
    port: int

    def start(self) -> None:
        self._server = Server(self.new_app(), self.port)

    def stop(self) -> None:
        self._server.stop()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def service(
    new_app: Any, ledger: Any, busy: Any, upload: Any, record: Any, make_png: Any, lease: Any, site: Any, store: Any
) -> Iterator[Service]:
    """A busy site with data quality of its newest run."""
    now = time.time()
    busy(ledger, now)
    ledger.write()
    lease("engine", now + 3600)
    lease(lease_name(site.buffer.path), now + 3600)
    for index in (*range(6), 29):
        content = record(RUN, index, channels=120 if index == 29 else 30, elements=3)
        pngs = {p["name"]: make_png(64, 48) for p in content["pictures"]} if index == 29 else {}
        assert upload(content, pictures=pngs).status_code == 201
    Roller(store).roll_stale(now)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = Service(new_app, port)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def open_page(browser: Any, service: Service) -> Iterator[Any]:
    with watched(browser, service.address) as open_one:
        yield open_one


def finish(store: Any, number: int) -> None:
    """Let some running tasks be done, as the engine would."""
    with store.write() as connection:
        tasks = ledger_tasks.select(connection, task_table.c.state == TaskState.RUNNING, limit=number)
        assert len(tasks) == number
        ledger_tasks.apply(connection, [Move(task, TaskState.DONE, None, {"done_at": time.time()}) for task in tasks], time.time())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_by_everybody_in_both_schemes(open_page: Any, pictures: Path, scheme: str) -> None:
    unreadable = {}
    for name, path in PAGES.items():
        page = open_page(path, scheme)
        page.wait_for_load_state("load")
        page.wait_for_timeout(150)
        expect(page.locator("body")).to_have_css("background-color", BACKGROUND[scheme])
        page.screenshot(path=pictures / f"{name}-{scheme}.png", full_page=True)
        found = axe.Axe().run(page)
        if found.violations_count:
            unreadable[name] = [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found.response["violations"]]
        page.context.close()
    assert unreadable == {}


def test_every_page_fits_a_phone(open_page: Any, pictures: Path) -> None:
    too_wide = {}
    for name, path in PAGES.items():
        page = open_page(path, width=390, height=844)
        page.wait_for_timeout(150)
        if (width := page.evaluate("document.documentElement.scrollWidth")) > 390:
            too_wide[name] = width
        page.screenshot(path=pictures / f"{name}-phone.png", full_page=True)
        page.context.close()
    assert too_wide == {}


def test_every_page_has_its_content_without_scripts(open_page: Any) -> None:
    for name, path in PAGES.items():
        page = open_page(path, scripts=False)
        text = page.locator("main").inner_text()
        assert len(text) > 100, name
        assert "undefined" not in text
        page.context.close()


def test_every_page_can_be_walked_with_the_keyboard(open_page: Any) -> None:
    for name, path in PAGES.items():
        page = open_page(path)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content", name
        places = set()
        for _ in range(12):
            page.keyboard.press("Tab")
            places.add(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
        assert len(places) >= 11, name
        page.context.close()


def test_the_operations_page_needs_no_scrolling(open_page: Any) -> None:
    page = open_page("/")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    assert page.evaluate("document.documentElement.scrollHeight") <= 1080


def test_news_arrive_by_themselves_and_can_be_paused(open_page: Any, store: Any) -> None:
    page = open_page("/")
    done, pill = page.locator(".legend .done + b").first, page.locator("#live")
    expect(pill).to_have_attribute("data-state", "live")
    before = int(done.inner_text())
    finish(store, 3)
    # A reading that was slow rests for a multiple of what it took.
    expect(done).to_have_text(str(before + 3), timeout=20_000)

    page.locator("#pause").click()
    expect(pill).to_have_attribute("data-state", "paused")
    finish(store, 1)
    page.wait_for_timeout(1300)
    assert done.inner_text() == str(before + 3)
    page.locator("#pause").click()
    expect(done).to_have_text(str(before + 4))


def test_of_two_choices_the_last_counts_whichever_is_answered_first(open_page: Any) -> None:
    page = open_page("/runs")
    held: list[Any] = []
    files = re.compile("sort=-?files")
    page.route(files, lambda route: held.append(route))
    heads = {name: page.locator("thead th").filter(has_text=re.compile(rf"^\s*{name}\s*$")) for name in ("files", "parked")}
    heads["files"].get_by_role("link").click()
    heads["parked"].get_by_role("link").click()
    expect(heads["parked"]).to_have_attribute("aria-sort", re.compile("ascending|descending"))
    with page.expect_response(files):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(heads["files"]).not_to_have_attribute("aria-sort", re.compile("."))
    assert re.search("sort=-?parked", page.url)


def test_a_choice_while_the_service_is_away_is_left_to_the_browser(browser: Any, service: Service) -> None:
    page = browser.new_page()
    page.goto(f"{service.address}/runs")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    service.stop()
    with page.expect_event("requestfailed", lambda request: request.is_navigation_request()):
        page.get_by_role("link", name="files", exact=True).click()
    service.start()
    expect(page.locator("body")).to_contain_text("ERR_CONNECTION_REFUSED")
    page.reload()
    assert re.search("sort=-?files", page.url)
    page.context.close()


def test_after_a_restart_of_the_service_a_page_goes_on_by_itself(browser: Any, service: Service, store: Any) -> None:
    page = browser.new_page()
    page.goto(service.address)
    pill = page.locator("#live")
    expect(pill).to_have_attribute("data-state", "live")
    service.stop()
    expect(pill).to_have_attribute("data-state", "reconnecting", timeout=10_000)
    finish(store, 2)
    service.start()
    expect(pill).to_have_attribute("data-state", "live", timeout=15_000)
    counted = str(page.request.get(f"{service.address}/api/v1/operations").json()["work"]["counts"]["done"])
    expect(page.locator(".legend .done + b").first).to_have_text(counted)
    page.close()


def test_the_detector_page_looks_again_when_a_record_was_rolled_up(open_page: Any, upload: Any, record: Any, store: Any) -> None:
    page = open_page("/quality")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    newest = page.locator("#verdict .facts")
    expect(newest).to_contain_text("file 29")
    upload(record(RUN, 44, channels=30, elements=3), pictures={})
    Roller(store).roll_stale(time.time())
    expect(newest).to_contain_text("file 44", timeout=10_000)


def drawn_planes(page: Any, *planes: str) -> None:
    """Wait until the trends page draws these planes."""
    shown = "planes => JSON.parse(document.getElementById('trends-data').textContent).planes.join() === planes"
    page.wait_for_function(shown, arg=",".join(planes))


def test_what_is_chosen_on_the_trends_page_stands_in_the_address(open_page: Any) -> None:
    page = open_page("/trends")
    page.get_by_role("navigation", name="Quantity").get_by_role("link", name="hits").click()
    expect(page.locator("h1")).to_contain_text("Hits")
    page.get_by_role("navigation", name="Plane").get_by_role("link", name="V").click()
    drawn_planes(page, "V")
    page.get_by_label("from run").fill("27304")
    page.get_by_label("from run").press("Enter")
    page.wait_for_url("**from_run=27304**")
    assert {"metric=hits", "plane=V", "from_run=27304"} <= set(page.url.partition("?")[2].split("&"))
    again = open_page(page.url.partition(page.url.split("/")[2])[2])
    expect(again.locator("h1")).to_contain_text("Hits")
    page.go_back()
    drawn_planes(page, "V")
    page.go_back()
    drawn_planes(page, "U", "V", "W")


def test_the_chosen_theme_is_remembered(open_page: Any) -> None:
    page = open_page("/runs")
    page.locator("#theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
