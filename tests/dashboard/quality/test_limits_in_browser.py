"""The page of the limits in a real browser: nothing complains, a phone need not scroll sideways, and a reference is set by its form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.dashboard.browsing import watched

sync_api = pytest.importorskip("playwright.sync_api", reason="this machine has no playwright (extra 'dev')")
expect = sync_api.expect

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
def open_page(browser: Any, served: str) -> Iterator[Any]:
    with watched(browser, served) as open_one:
        yield open_one


def test_a_reference_is_set_on_the_page_by_whoever_may(open_page: Any, keep: Any, make: Any) -> None:
    keep(make())
    page = open_page("/quality/limits")
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
def test_the_page_is_as_wide_as_the_window(open_page: Any, width: int) -> None:
    page = open_page("/quality/limits", width=width, height=900)
    expect(page.locator("h1")).to_contain_text("version 1")
    assert page.locator("main").evaluate("main => main.scrollWidth") <= width
