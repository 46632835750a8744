"""The page of alarms in a real browser: one comes by itself, is acknowledged by keyboard and with a token, and moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.browsing import watched

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="this machine has no axe (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
def desk_now(desk: Any, ledger: Any, finding: Any) -> Any:
    ledger.write()
    desk.now = time.time() - 300
    for _ in range(2):
        desk.look(finding("conflict", rule="stopped", message="2 files are in conflict with what a catalogue says"))
    return desk


@pytest.fixture
def open_page(browser: Any, served: str, desk_now: Any) -> Iterator[Any]:
    # What the server refuses (a wrong token) is a line in the console of every browser.
    with watched(browser, served, tolerated=["401 (Unauthorized)"]) as open_one:
        yield open_one


def test_an_alarm_comes_by_itself_is_acknowledged_and_moves(open_page: Any, desk_now: Any, finding: Any, pictures: Path) -> None:
    page = open_page("/alarms")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    conflict = finding("conflict", rule="stopped", message="2 files are in conflict with what a catalogue says")
    for _ in range(2):
        desk_now.look(conflict, finding("run 28100", rule="no_file_for", message="no new raw file for 16 min"))
    expect(page.locator("#open")).to_contain_text("no new raw file for 16 min", timeout=10_000)
    page.screenshot(path=pictures / "alarms.png", full_page=True)

    button = page.get_by_role("button", name="Acknowledge conflict")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#acknowledge-what")).to_contain_text("conflict: 2 files")
    page.get_by_label("Why need nobody else look?").fill("MetaCat is being repaired")
    page.screenshot(path=pictures / "alarms-acknowledge.png")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#token-error")).to_contain_text("a valid token")
    page.get_by_label("Token").fill("operator-token-of-the-tests")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#acknowledged")).to_contain_text("operator: MetaCat is being repaired")
    expect(page.locator("#open")).not_to_contain_text("2 files")
    until = desk_now.open()[-1].acknowledged_until
    assert until == pytest.approx(time.time() + 8 * 3600, abs=120)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(open_page: Any, scheme: str, pictures: Path) -> None:
    page = open_page("/alarms", scheme)
    page.locator("#rules summary").first.click()
    page.screenshot(path=pictures / f"alarms-{scheme}.png", full_page=True)
    violations = axe.Axe().run(page).response["violations"]
    assert [(item["id"], [node["html"] for node in item["nodes"]]) for item in violations] == []


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page: Any, pictures: Path) -> None:
    page = open_page("/alarms", width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=pictures / "alarms-phone.png", full_page=True)
    page.get_by_role("button", name="Acknowledge conflict").click()
    expect(page.get_by_label("Until")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
