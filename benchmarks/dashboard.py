"""What the dashboard costs on a large ledger: `python -m benchmarks.dashboard [--json] [--tasks N]`.

Medians in milliseconds. Readings are what the sampler does for all tabs together, each at most once a second.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from fastapi.testclient import TestClient

from campaign.ledger.tables import attempt_table, campaign_table, count_table, slice_table, task_table
from dashboard.app import create_app
from dashboard.dqm.metrics import PLANES
from dashboard.dqm.summary import PlaneSummary
from dashboard.dqm.tables import dqm_table
from dashboard.operations.buffer import read_buffer_fill
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.deadlines import read_next_deadline, read_promptness
from dashboard.operations.declaring import read_declaring
from dashboard.operations.failures import read_failure_classes, read_failures
from dashboard.operations.latency import read_latency
from dashboard.operations.rates import WINDOWS, read_rates
from dashboard.operations.routes import render_parts
from dashboard.operations.snapshot import OperationsReader
from dashboard.operations.work import newest_runs, read_runs, read_work
from declare_daemon.journal.tables import file_table
from dune_prompt.settings import Site
from dune_prompt.store import Store, open_store

FILES_A_RUN = 250
REPEAT = 9
SECONDS_A_FILE = 5.0


def fill(store: Store, tasks: int, now: float) -> None:
    """A ledger of one campaign, all of it done but the newest file of a hundred; a file every five seconds, 1 % failed once."""
    rng = random.Random(1)
    rows, attempts, files = [], [], []
    for i in range(tasks):
        closed = now - (tasks - i) * SECONDS_A_FILE
        state = "done" if i < tasks * 0.99 else rng.choice(["ready", "running", "reported", "parked"])
        started = closed + rng.uniform(5, 60)
        did = f"hd-protodune:np04hd_raw_run{27000 + i // FILES_A_RUN:06d}_{i % FILES_A_RUN:04d}_dataflow0_datawriter_0_20240619T110330.hdf5"
        done = started + rng.uniform(60, 90)
        rows.append(
            {
                "id": i + 1,
                "input_id": i + 1,
                "campaign_id": 1,
                "input_did": did,
                "step": "chain",
                "state": state,
                "late": False,
                "run": 27000 + i // FILES_A_RUN,
                "file_index": i % FILES_A_RUN,
                "size_bytes": 4 * 10**9,
                "deadline": closed + 86400,
                "attempts": 1,
                "allowed_failures": 4,
                "ready_at": closed,
                "closed_at": closed,
                "created_at": closed + 4,
                "started_at": started,
                "reported_at": done - 5 if state in ("done", "reported") else None,
                "done_at": done if state == "done" else None,
                "error_class": "data" if state == "parked" else None,
                "message": "cut off" if state == "parked" else None,
            }
        )
        bad = state == "parked" or rng.random() < 0.01
        attempts.append(
            {
                "id": f"{i + 1:026d}",
                "task_id": i + 1,
                "slice_id": "0" * 26,
                "number": 1,
                "state": "failed" if bad else "succeeded",
                "stages": "nf_sp,declare,evaluate,dqm_upload",
                "launcher": "local",
                "token_hash": "",
                "lease_until": now,
                "created_at": started,
                "started_at": started,
                "ended_at": done - 5,
                "error_class": "data" if bad else None,
                "message": "cut off" if bad else None,
            }
        )
        files.append(
            {
                "origin": "buffer",
                "name": did.partition(":")[2],
                "path": "/buffer",
                "state": "declared" if i > tasks - 20_000 else "left",
                "did": did,
                "size_bytes": 4 * 10**9,
                "run": 27000 + i // FILES_A_RUN,
                "closed_at": closed,
                "found_at": closed + 1,
                "declared_at": closed + 6,
            }
        )
    counts = Counter((row["run"], row["state"]) for row in rows)
    campaign = {"id": 1, "name": "pdhd-prompt", "version": "v1", "stream": "physics", "detector": "pdhd", "layout": "fused"}
    content: list[tuple[sa.Table, list[dict[str, Any]]]] = [
        (campaign_table, [campaign | {"required": True, "file_hash": "", "content": {}, "first_seen": 0.0}]),
        (task_table, rows),
        (slice_table, [{"id": "0" * 26, "campaign_id": 1, "step": "chain", "launcher": "local", "created_at": now}]),
        (attempt_table, attempts),
        (file_table, files),
        (
            count_table,
            [
                {"campaign_id": 1, "run": run, "step": "chain", "state": state, "late": False, "tasks": number}
                for (run, state), number in counts.items()
            ],
        ),
        (dqm_table, [_record(row, now) for row in rows[-FILES_A_RUN:]]),
    ]
    with store.write() as connection:
        for table, values in content:
            connection.execute(sa.insert(table), values)


def _record(task: dict[str, Any], now: float) -> dict[str, Any]:
    spread = {"median": 14.1, "p05": 12.2, "p95": 16.0}
    ranges = dict.fromkeys(("pedestal_adc", "std_raw_adc", "rms_raw_adc", "rms_nf_adc"), spread)
    counts = dict.fromkeys(("n_missing", "n_dead", "n_noisy", "n_low", "n_high"), 2)
    scalars = dict.fromkeys(set(PlaneSummary.model_fields) - ranges.keys() - counts.keys() - {"plane", "n_channels"}, 0.13)
    planes = [{"plane": plane, "n_channels": 800} | counts | ranges | scalars for plane in PLANES]
    elements = [{"element": element, "anode": 0, "n_records": 1, "planes": planes} for element in ("P02SU", "P02NL", "P01SU", "P01NL")]
    return {
        "campaign": "pdhd-prompt",
        "version": "v1",
        "input_did": task["input_did"],
        "run": task["run"],
        "file_index": task["file_index"],
        "detector": "pdhd",
        "attempt": "x",
        "made_at": now,
        "received_at": now,
        "summary": {
            "payload": "numpy",
            "notes": [],
            "n_records": 1,
            "n_used": 1,
            "n_problems": 0,
            "elements": elements,
            "pictures_missing": [],
        },
        "folder": "dqm/none",
    }


def milliseconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Medians of wall and CPU time."""
    walls, cpus = [], []
    for _ in range(REPEAT):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
    return median(walls), median(cpus)


def measure(tasks: int) -> Iterator[tuple[str, float, float]]:
    """What is measured, wall and CPU milliseconds."""
    now = time.time()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/store.sqlite")
        fill(store, tasks, now)
        site = Site.model_validate(
            {
                "site": "benchmark",
                "workspace": folder,
                "buffer": {"path": folder, "capacity": "200TB"},
                "streams": [{"name": "physics", "pattern": "*.hdf5"}],
            }
        )
        slots = SimpleNamespace(wanted=1, reason="benchmark")
        with store.read() as connection:
            c = counted_campaigns(connection)
            readings: dict[str, Callable[[], Any]] = {
                "work": lambda: read_work(connection, c),
                "runs": lambda: read_runs(connection, c, newest_runs(connection, c)),
                "promptness": lambda: read_promptness(connection, c, now),
                "next deadline": lambda: read_next_deadline(connection, c, now),
                "rates, 10 min": lambda: read_rates(connection, c, WINDOWS[0], now),
                "rates, 24 h": lambda: read_rates(connection, c, WINDOWS[2], now),
                "latency, 1 h": lambda: read_latency(connection, c, now - 3600),
                "latency, 24 h": lambda: read_latency(connection, c, now - 86400),
                "failures": lambda: (read_failures(connection, c, now), read_failure_classes(connection, c, now)),
                "journal": lambda: read_declaring(connection, site, now),
                "buffer": lambda: read_buffer_fill(connection, site.buffer, None),
            }
            for name, work in readings.items():
                yield f"reading: {name}", *milliseconds(work)
        reader = OperationsReader(site, store, lambda: slots)
        operations = reader.read(now)
        yield "drawing the parts of the operations page", *milliseconds(lambda: render_parts(operations))
        seconds = iter(range(1, 10**6))
        cpu = time.process_time()
        for _ in range(60):
            reader.read(now + next(seconds))
        in_all = (time.process_time() - cpu) / 60 * 1e3
        yield "a second of sampling, mean of a minute", in_all, in_all
        app = create_app(site, store, None, authenticate=lambda _token: None, slots=lambda: slots)
        run = 27000 + (tasks - 1) // FILES_A_RUN
        with TestClient(app) as client:
            for path in ("/", "/api/v1/operations", "/runs", f"/runs/{run}", f"/api/v1/dqm/runs/{run}"):
                client.get(path)
                yield f"GET {path}", *milliseconds(partial(client.get, path))
        store.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--tasks", type=int, default=50_000)
    options = parser.parse_args()
    rows = [{"what": what, "wall_ms": wall, "cpu_ms": cpu} for what, wall, cpu in measure(options.tasks)]
    if options.json:
        print(json.dumps({"tasks": options.tasks, "rows": rows}))
        return
    print(f"{options.tasks} tasks{'wall ms':>41}{'cpu ms':>9}")
    for row in rows:
        print(f"{row['what']:44}{row['wall_ms']:9.1f}{row['cpu_ms']:9.1f}")


if __name__ == "__main__":
    main()
