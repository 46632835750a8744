"""The data-quality page of a run in a real browser: drawn, zoomed by keyboard, exchanged without losing one's place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.dashboard.browsing import watched

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")

PLOTS = ("rms-plot", "pedestal-plot", "charge-plot", "spectrum-plot", "spectrum-ratio", "hits-plot", "hits-ratio", "trend-plot")


@pytest.fixture
def open_page(browser: Any, served: str, filled: Any) -> Iterator[Any]:
    """Open the page of the run with a query."""
    with watched(browser, served) as open_one:
        yield lambda query, *how, **also: open_one(f"/runs/{filled.run}/quality?{query}", *how, **also)


@pytest.fixture
def bad_file(filled: Any) -> str:
    return f"file={filled.name(filled.bad)}&element=P02NL&plane=V"


def zoomed(page: Any) -> tuple[float, ...] | None:
    """Channels and ticks in sight, as the address has them."""
    page.wait_for_timeout(350)
    values = parse_qs(urlsplit(page.url).query).get("zoom")
    return tuple(float(end) for pair in values[0].split(",") for end in pair.split("-")) if values else None


def marked_ms(page: Any, mark: str) -> float:
    """When the page was done with something, since it was asked for."""
    for _ in range(100):
        found = page.evaluate(f"performance.getEntriesByName('{mark}').map((entry) => entry.startTime)")
        if found:
            return float(found[0])
        page.wait_for_timeout(50)
    raise AssertionError(f"the page never marked {mark!r}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_complete_in_light_and_dark(open_page: Any, bad_file: str, pictures: Path, scheme: str) -> None:
    page = open_page(bad_file, scheme)
    for plot in PLOTS:
        expect(page.locator(f"#{plot}")).to_have_attribute("data-ready", "1")
    for kind in ("raw", "nf", "sp"):
        expect(page.locator(f"#display-{kind}")).to_be_visible()
    for mark in ("drawn", "displays"):
        print(f"{scheme}: {mark} after {marked_ms(page, mark):.0f} ms")
    expect(page.locator("#flag-form")).to_be_visible()
    page.screenshot(path=pictures / f"run-quality-{scheme}.png", full_page=True)


def test_displays_are_zoomed_and_moved_by_keyboard_together(open_page: Any, bad_file: str, filled: Any) -> None:
    page = open_page(bad_file)
    canvas = page.locator("#display-raw")
    expect(canvas).to_be_visible()
    first = filled.plane(filled.bad, "P02NL", "V")["channels"]["first"]
    other = page.locator("#display-sp")
    before = other.evaluate("canvas => canvas.toDataURL()")
    canvas.focus()
    page.keyboard.press("+")
    assert zoomed(page) == pytest.approx((first + 133, first + 667, 971, 4853), abs=1)
    assert other.evaluate("canvas => canvas.toDataURL()") != before
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert zoomed(page) == pytest.approx((first + 213, first + 747, 1553, 5436), abs=2)
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    view = zoomed(page)
    assert view
    assert view[0] == first
    assert view[1] - view[0] == pytest.approx(533, abs=1)
    # The next trigger record is looked at in the same place.
    page.get_by_role("link", name="record 2").click()
    expect(page.locator(".displays nav [aria-current]")).to_have_text("record 2")
    assert zoomed(page) == view
    expect(page.locator("#display-raw")).to_be_visible()
    page.locator("#display-raw").focus()
    page.keyboard.press("0")
    assert zoomed(page) is None
    page.locator("[data-zoom=in]").click()
    assert zoomed(page)


def test_a_display_is_zoomed_by_wheel_and_dragged_and_read(open_page: Any, bad_file: str) -> None:
    page = open_page(bad_file)
    canvas = page.locator("#display-nf")
    expect(canvas).to_be_visible()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#display-readout")).to_contain_text("channel 37")
    expect(page.locator("#display-readout")).to_contain_text("ADC, sp")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -200)
    near = zoomed(page)
    assert near
    assert near[1] - near[0] < 500
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 100, box["y"] + box["height"] / 2)
    page.mouse.up()
    moved = zoomed(page)
    assert moved
    assert moved[0] > near[0]
    assert moved[2:] == pytest.approx(near[2:], abs=1)


def test_a_choice_is_exchanged_in_place_and_a_click_on_the_trend_opens_a_file(open_page: Any, bad_file: str, filled: Any) -> None:
    page = open_page(bad_file + "&trend=rms_nf_adc")
    expect(page.locator("#trend-plot")).to_have_attribute("data-ready", "1")
    page.evaluate("window.stays = true")
    page.get_by_role("navigation", name="Channels of").get_by_role("link", name="everything").click()
    expect(page.locator("#rms-plot")).to_have_attribute(
        "aria-label", "RMS of each channel of all elements; the numbers are in the CSV below"
    )
    plot = page.locator("#trend-plot .u-over")
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * 200.5 / 302, "y": box["height"] / 2})
    expect(page.locator("#shown-file h2")).to_have_text("File 200")
    assert "view=all" in page.url
    page.go_back()
    expect(page.locator("#shown-file h2")).to_have_text(f"File {filled.bad}")
    assert page.evaluate("window.stays") is True


def test_plots_of_channels_are_zoomed_together_and_stay_so(open_page: Any, bad_file: str) -> None:
    page = open_page(bad_file)
    expect(page.locator("#rms-plot")).to_have_attribute("data-ready", "1")
    over = page.locator("#rms-plot .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("channels="))
    low, high = (int(end) for end in parse_qs(urlsplit(page.url).query)["channels"][0].split("-"))
    assert (high - low) == pytest.approx(160, abs=4)
    # A link of the same plane takes it along; one of another plane does not.
    trend = page.get_by_role("navigation", name="Quantity").get_by_role("link", name="hits")
    assert f"channels={low}-{high}" in trend.get_attribute("href")
    assert "channels=" not in page.get_by_role("navigation", name="Plane").get_by_role("link", name="U").get_attribute("href")
    page.reload()
    expect(page.locator("#rms-plot")).to_have_attribute("data-ready", "1")
    page.wait_for_timeout(200)
    assert f"channels={low}-{high}" in page.url
    page.locator("#pedestal-plot .u-over").dblclick()
    expect(page).not_to_have_url(re.compile("channels="))


def test_the_page_fits_a_phone(open_page: Any, bad_file: str, pictures: Path) -> None:
    page = open_page(bad_file, width=390, height=844)
    expect(page.locator("#display-raw")).to_be_visible()
    assert page.evaluate("document.querySelector('main').scrollWidth") <= 390
    page.screenshot(path=pictures / "phone-run-quality.png", full_page=True)
