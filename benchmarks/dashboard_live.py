"""What people who leave the operations page open cost: `python -m benchmarks.dashboard_live [--json] [--viewers N] [--seconds S]`.

The service is a process of its own, as in operation; its CPU time is measured while every viewer holds a stream of updates, and two files
arrive and two are done each second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import sqlalchemy as sa

from campaign.layout import CHAIN
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Move, NewTask
from campaign.states import TaskState
from dune_prompt.settings import Site
from dune_prompt.store import Store, open_store

FILES_A_RUN = 250
FILES = 20_000
CHANGES_PER_S = 2
# The first updates carry the whole page, and the service has just started.
WARM_UP_S = 5.0


@dataclass
class Seen:
    """What all viewers together were sent."""

    updates: int = 0
    size_bytes: int = 0


def site_in(folder: Path) -> Site:
    return Site.model_validate(
        {
            "site": "benchmark",
            "workspace": folder,
            "buffer": {"path": folder, "capacity": "200TB"},
            "streams": [{"name": "physics", "pattern": "*.hdf5", "process": True}],
        }
    )


def arrive(connection: sa.Connection, first: int, number: int, now: float) -> None:
    """New files in the ledger, closed a moment ago."""
    tasks = [
        NewTask(
            campaign_id=1,
            input_did=f"hd-protodune:np04hd_raw_run{27000 + i // FILES_A_RUN:06d}_{i % FILES_A_RUN:04d}_dataflow0.hdf5",
            step=CHAIN,
            state=TaskState.READY,
            run=27000 + i // FILES_A_RUN,
            file_index=i % FILES_A_RUN,
            size_bytes=4 * 10**9,
            deadline=now + 86400,
            allowed_failures=4,
            closed_at=now - 5,
            declared_at=now - 2,
        )
        for i in range(first, first + number)
    ]
    ledger_tasks.create(connection, tasks, now)


def finish(connection: sa.Connection, number: int, now: float) -> None:
    """The oldest files that wait are done."""
    waiting = ledger_tasks.select(connection, task_table.c.done_at.is_(None), task_table.c.state == TaskState.READY, limit=number)
    times = {"submitted_at": now - 80, "started_at": now - 70, "reported_at": now - 6, "done_at": now, "attempts": 1}
    ledger_tasks.apply(connection, [Move(task, TaskState.DONE, None, times) for task in waiting], now)


def fill(store: Store) -> None:
    """A ledger of one campaign; the last hundred files wait."""
    campaign = {"id": 1, "name": "pdhd-prompt", "version": "v1", "stream": "physics", "detector": "pdhd", "layout": "fused"}
    now = time.time()
    with store.write() as connection:
        connection.execute(sa.insert(campaign_table).values(**campaign, required=True, file_hash="", content={}, first_seen=0.0))
        arrive(connection, 0, FILES, now - 600)
        finish(connection, FILES - 100, now - 500)


def serve(folder: Path, port: int) -> None:
    """The service's process: the application, nothing else."""
    import uvicorn

    from dashboard.app import create_app

    site = site_in(folder)
    slots = SimpleNamespace(wanted=1, reason="benchmark")
    app = create_app(site, open_store(site.store_url, migrate=False), None, authenticate=lambda _token: None, slots=lambda: slots)
    uvicorn.run(app, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=1)


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, int]]:
    """The service; its process id and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.dashboard_live", "--serve", str(folder), "--port", str(port)])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


async def watch(port: int, seen: Seen) -> None:
    """A viewer: reads updates for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip\r\n\r\n")
        while line := await reader.readline():
            seen.size_bytes += len(line)
            seen.updates += line.startswith(b"data: ")
    finally:
        writer.close()


def change(store: Store, first: int) -> None:
    now = time.time()
    with store.write() as connection:
        arrive(connection, first, CHANGES_PER_S, now)
        finish(connection, CHANGES_PER_S, now)


async def measure(viewers: int, seconds: float, store: Store, pid: int, port: int) -> dict[str, float]:
    """The CPU time of the service, and what the viewers were sent."""
    seen = Seen()
    watchers = [asyncio.create_task(watch(port, seen)) for _ in range(viewers)]
    next_file = FILES

    async def changing(for_s: float) -> None:
        nonlocal next_file
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            await asyncio.to_thread(change, store, next_file)
            next_file += CHANGES_PER_S
            await asyncio.sleep(min(1.0, left))

    await changing(WARM_UP_S)
    before, cpu, began = Seen(seen.updates, seen.size_bytes), cpu_s(pid), time.monotonic()
    await changing(seconds)
    took = time.monotonic() - began
    used = cpu_s(pid) - cpu
    for watcher in watchers:
        watcher.cancel()
    ended = await asyncio.gather(*watchers, return_exceptions=True)
    lost = sum(not isinstance(end, asyncio.CancelledError) for end in ended)
    updates = seen.updates - before.updates
    return {
        "viewers": viewers,
        "lost": lost,
        "seconds": took,
        "core_fraction": used / took,
        "updates_per_viewer_per_s": updates / took / viewers if viewers else 0.0,
        "bytes_per_update": (seen.size_bytes - before.size_bytes) / updates if updates else 0.0,
    }


def cpu_s(pid: int) -> float:
    """The CPU time a process has used so far, user and system (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.port)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(site_in(Path(folder)).store_url)
        fill(store)
        with served(Path(folder)) as (pid, port):
            figures = asyncio.run(measure(options.viewers, options.seconds, store, pid, port))
        store.close()
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{figures['viewers']:.0f} viewers for {figures['seconds']:.0f} s, {figures['lost']:.0f} lost")
    print(f"{'CPU of the service':30}{figures['core_fraction']:10.1%} of a core")
    print(f"{'updates':30}{figures['updates_per_viewer_per_s']:10.2f} /s to each, {figures['bytes_per_update']:.0f} bytes")


if __name__ == "__main__":
    main()
