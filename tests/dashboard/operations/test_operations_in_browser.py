"""The operations page in a real browser: one screen, charts of the chosen time, a gap where nothing was sampled."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
def address(served: str, ledger: Any, busy: Any, sample: Any, alarm: Any) -> str:
    now = time.time()
    busy(ledger, now)
    ledger.write()
    alarm("alarm", "92 % full")
    for interval, number in ((10, 360), (60, 480)):
        last = now // interval * interval
        for k in range(number):
            if not number // 3 < k < number // 2:
                sample(last - k * interval, interval, backlog=k % 50, running=30, slots_wanted=40, files=10_000 - k, buffer_fraction=0.5)
    return served


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/?window=30d"])
def test_it_is_one_screen_without_scrolling(browser: Any, address: str, scheme: str, path: str) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1920, "height": 1080})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address + path)
    for name in ("prompt", "rates", "backlog", "jobs", "buffer"):
        expect(page.locator(f"#{name}-plot")).to_have_attribute("data-ready", "1")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [1920, 1080]
    for panel in page.locator(".panel").all():
        box = panel.bounding_box()
        assert box["y"] + box["height"] <= 1080
        assert box["height"] > 30
    assert complaints == []
    context.close()


def test_another_time_window_is_drawn_in_place_and_kept_in_the_address(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    page = context.new_page()
    page.goto(address)
    median = page.locator("#history .spreads").nth(2).locator("tbody tr").first.locator("td").nth(1)
    before = median.inner_text()
    page.evaluate("window.sameDocument = true")
    page.get_by_role("link", name="10 min", exact=True).click()
    expect(median).not_to_have_text(before)
    expect(page.locator("#backlog-plot")).to_have_attribute("aria-label", re.compile("Backlog over the last 10 min;"))
    assert page.url.endswith("?window=10min")
    assert page.evaluate("window.sameDocument")
    assert len(page.locator("#history canvas").all()) == 5
    context.close()


def test_without_javascript_the_numbers_are_there(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1366, "height": 768})
    page = context.new_page()
    page.goto(address + "/?window=1h")
    expect(page.get_by_role("row", name="slots wanted 40 40 40")).to_be_visible()
    expect(page.locator(".to-alarms")).to_contain_text("1 alarm buffer 92 % full")
    page.get_by_role("link", name="8 h", exact=True).click()
    expect(page.locator('[aria-current="true"]')).to_have_text("8 h")
    context.close()
