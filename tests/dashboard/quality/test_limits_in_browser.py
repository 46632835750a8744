"""The page of the limits in a real browser: nothing complains, a phone need not scroll sideways, and a reference is set by its form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture
def page(served: str) -> Iterator[Any]:
    """A page of the service; at the end nothing may have complained."""
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        page = browser.new_page(base_url=served)
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        browser.close()
    assert complaints == []


def test_a_reference_is_set_on_the_page_by_whoever_may(page: Any, keep: Any, make: Any) -> None:
    keep(make())
    page.goto("/quality/limits")
    page.get_by_text("Set a reference run").click()
    page.get_by_label("Run", exact=True).last.fill("27296")
    page.get_by_label("Why").fill("all was well")
    page.get_by_role("button", name="Set", exact=True).click()
    page.get_by_label("Token").fill("operator-token-of-the-tests")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#references tbody tr")).to_contain_text(["27296"])
    expect(page.locator("#references")).to_contain_text("in force")
    expect(page.locator("#said")).to_contain_text("The reference is set.")


@pytest.mark.parametrize("width", [390, 1920])
def test_the_page_is_as_wide_as_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/quality/limits")
    expect(page.locator("h1")).to_contain_text("version 1")
    assert page.locator("main").evaluate("main => main.scrollWidth") <= width
