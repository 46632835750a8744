"""What the dashboard costs: `python -m benchmarks.dashboard [--json] [--tasks N] [--runs N] [--database postgresql]`.

A ledger of a million tasks and two thousand runs with data quality. Pages: server time in milliseconds over 40 requests and what a first
visit loads; uploads: CPU time of the service; drawing: Chromium. What viewers who leave a page open cost: `benchmarks.dashboard_live`.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from benchmarks.dashboard import drawing, pages, uploads
from benchmarks.dashboard.ledger import fill
from benchmarks.dashboard.serving import Served, application, site_of
from dashboard.dqm.rollup import Roller
from dune_prompt.store import open_store
from tests.servers.postgres import Postgres


def measure(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The parts of the answer as they are found."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder}/store.sqlite"
        if options.database == "postgresql":
            url = stack.enter_context(Postgres(folder / "postgres")).url
        store = open_store(url)
        stack.callback(store.close)
        begin = time.perf_counter()
        extent = fill(store, folder, options.tasks, options.runs, time.time())
        yield "fill_s", time.perf_counter() - begin
        begin, cpu = time.perf_counter(), time.process_time()
        rolled = Roller(store).roll_stale(time.time())
        yield "rolling", {"runs": rolled, "cpu_ms_a_run": (time.process_time() - cpu) / rolled * 1e3}
        with TestClient(application(site_of(folder, url), store)) as client:
            # As the service does when it starts.
            gc.collect()
            gc.freeze()
            for cost in pages.measure(client, extent):
                yield "page", cost
        with Served(folder, url) as served:
            yield "upload", uploads.measure(served, extent.newest + 1)
            if Path(drawing.BROWSER).exists():
                yield "drawing", drawing.measure(f"{served.url}/runs/{extent.newest - 2}/quality")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    found: dict[str, Any] = {"tasks": options.tasks, "runs": options.runs, "database": options.database, "pages": []}
    for name, value in measure(options):
        if name == "page":
            found["pages"].append(pages.as_json(value))
        else:
            found[name] = value if isinstance(value, float | dict) else asdict(value)
        if not options.json:
            _show(name, value)
    if options.json:
        print(json.dumps(found))


def _show(name: str, value: Any) -> None:
    if name == "fill_s":
        print(f"filled in {value:.0f} s")
    elif name == "rolling":
        print(f"rolled up {value['runs']} runs, {value['cpu_ms_a_run']:.0f} ms of CPU each")
        print(f"{'page':44}{'p50 ms':>8}{'p95 ms':>8}{'cpu ms':>8}{'kB':>8}{'first load kB':>15}")
    elif name == "page":
        numbers = f"{value.p50_ms:8.1f}{value.p95_ms:8.1f}{value.cpu_ms:8.1f}{value.kb:8.1f}{value.first_load_kb:15.1f}"
        print(f"{value.page:44}{numbers}", flush=True)
    else:
        print(f"{name}: " + ", ".join(f"{key} {number:.1f}" for key, number in asdict(value).items()), flush=True)


if __name__ == "__main__":
    main()
