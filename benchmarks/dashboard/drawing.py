"""How long a run's quality page of 10,236 channels takes in Chromium, from asking for it until all plots are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

REPEAT = 7
BROWSER = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Milliseconds until the page's own mark `drawn`; the first time nothing is in the browser's cache."""

    first_ms: float
    median_ms: float


def measure(address: str) -> Drawn:
    """Draw a page several times. The page calls `performance.mark("drawn")` when its last plot stands."""
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        for _ in range(REPEAT):
            page.goto(address)
            page.wait_for_function("performance.getEntriesByName('drawn').length > 0")
            times.append(float(page.evaluate("performance.getEntriesByName('drawn')[0].startTime")))
        browser.close()
    return Drawn(times[0], median(times[1:]))
