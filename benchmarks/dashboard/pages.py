"""Server time of every page: each asked for many times, with another run or file each time where it has one."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any
from urllib.parse import quote

from fastapi.testclient import TestClient

from benchmarks.dashboard.ledger import Extent

REPEAT = 40
# A browser asks for these once and keeps them.
_STATIC = re.compile(r'(?:href|src)="(/static/[^"#]+)')
_IN_STYLE = re.compile(r'url\("([^"]+)"\)')


@dataclass(frozen=True, slots=True)
class PageCost:
    """Milliseconds of server time, and kilobytes sent: the page, and all that a first visit loads with it (gzipped, pictures apart)."""

    page: str
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    kb: float
    first_load_kb: float


def addresses(extent: Extent) -> Iterator[tuple[str, Sequence[str]]]:
    """The pages by name, with the addresses to ask for in turn."""
    runs = range(extent.newest - 2, max(extent.newest - 300, extent.newest - extent.runs), -8)
    for path in ("/", "/quality", "/runs", "/trends", "/jobs", "/parked", "/alarms", "/handover", "/quality/limits", "/api"):
        yield path, [path]
    yield "/runs, sorted by files", ["/runs?sort=files"]
    yield "/runs, of one flag", ["/runs?flag=bad"]
    yield "/runs/RUN, 500 files", [f"/runs/{run}" for run in runs]
    yield "/runs/RUN, 12,000 files", [f"/runs/{extent.long}"]
    yield "/runs/RUN/quality, 500 files", [f"/runs/{run}/quality" for run in runs]
    yield "/runs/RUN/quality, 12,000 files", [f"/runs/{extent.long}/quality"]
    yield "/trends of a plane", ["/trends?metric=rms_raw_adc&plane=V"]
    yield "/files/DID", [f"/files/{quote(extent.some_did, safe='')}"]
    yield "/handover, 24 h", [f"/handover?since={time.time() - 86400:.0f}"]
    yield "/metrics", ["/metrics"]
    yield "/api/v1/operations", ["/api/v1/operations"]
    yield "/api/v1/operations/history, 30 d", ["/api/v1/operations/history?window=30d"]
    yield "/api/v1/runs/RUN/matrix, 12,000 files", [f"/api/v1/runs/{extent.long}/matrix"]
    yield "/api/v1/dqm/runs/RUN, 500 files", [f"/api/v1/dqm/runs/{run}" for run in runs]


def measure(client: TestClient, extent: Extent) -> Iterator[PageCost]:
    """The cost of each page. What a page keeps between requests is kept, as in operation; the first request counts too."""
    for name, asked in addresses(extent):
        walls, cpus = [], []
        for number in range(REPEAT):
            address = asked[number % len(asked)]
            wall, cpu = time.perf_counter(), time.process_time()
            answer = client.get(address)
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append((time.process_time() - cpu) * 1e3)
            if answer.status_code != 200:
                raise RuntimeError(f"{address}: {answer.status_code}: {answer.text[:300]}")
        size = len(gzip.compress(answer.content, 4))
        first = size + sum(_static_sizes(client, answer.text).values()) if "text/html" in answer.headers["content-type"] else size
        yield PageCost(name, median(walls), quantiles(walls, n=20)[-1], median(cpus), size / 1e3, first / 1e3)


def _static_sizes(client: TestClient, page: str) -> dict[str, int]:
    """Bytes sent of each static file that a page loads."""
    sizes: dict[str, int] = {}
    for address in _STATIC.findall(page):
        content = client.get(address).content
        sizes[address] = _sent(address, content)
        for name in _IN_STYLE.findall(content.decode()) if ".css" in address else ():
            sizes[name] = _sent(name, client.get(f"/static/{name}").content)
    return sizes


def _sent(name: str, content: bytes) -> int:
    return len(content) if ".woff2" in name else len(gzip.compress(content, 4))


def as_json(cost: PageCost) -> dict[str, Any]:
    return {key: round(value, 1) if isinstance(value, float) else value for key, value in asdict(cost).items()}
