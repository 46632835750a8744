"""What a large ledger costs: `python -m benchmarks.ledger [--json] [--tasks N]`, on SQLite and, where it is installed, on PostgreSQL.

A ledger with a million tasks of which 400 run and 2,000 wait: a step of the engine in which nothing happens, one in which 50 jobs end and
50 others start, and the counts by run, stage and state. And what a task adds to the file, all its indexes with it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa
from ulid import ULID

from campaign.engine import Engine
from campaign.installation import open_installation
from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from campaign.ledger.tables import attempt_table, commit_table, count_table, task_table
from campaign.status import campaign_statuses
from declare_daemon.journal.tables import file_table
from dune_prompt.records import write_json

NOW = 1_700_000_000.0
FILES_A_RUN = 2000
RUNNING, WAITING, A_STEP = 400, 2000, 50
ROWS = 20_000
STAGES = ("nf_sp", "declare", "evaluate", "dqm_upload")
LEDGER = ("campaign", "task", "attempt", "slice", "stage_commit", "task_count")

SITE = """
site: large
buffer: {{path: buffer}}
streams:
  - {{name: physics, pattern: "*.hdf5", process: true, lifetime: 365d}}
slots: {{min: 1, max: 400}}
{store}
"""
CAMPAIGN = """
campaign: large
detector: pdhd
stream: physics
version: v1
outputs: {namespace: hd-protodune-det-reco, data_tier: decoded-raw}
"""


@dataclass
class Queue:
    """A batch system in memory whose jobs end when they are told to."""

    name: str = "local"
    answers_later: bool = False
    gone: set[str] = field(default_factory=set)

    def submit(self, submission: Submission) -> Mapping[str, str]:
        return {job.attempt: f"1:{job.attempt}" for job in submission.jobs}

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        return {job.attempt: JobStatus(Seen.GONE if job.attempt in self.gone else Seen.RUNNING) for job in jobs}

    def kill(self, jobs: Sequence[Job]) -> None:
        self.gone |= {job.attempt for job in jobs}

    def fetch_log(self, job: Job) -> None:
        pass

    def available(self) -> None:
        pass

    def something_ended(self) -> bool:
        return False


def did(index: int) -> str:
    """The name of a raw file as ProtoDUNE-HD gives it."""
    run, number = 27_000 + index // FILES_A_RUN, index % FILES_A_RUN
    return f"hd-protodune:np04hd_raw_run{run:06d}_{number:04d}_dataflow0_datawriter_0_20240619T110330.hdf5"


def attempt_id(index: int) -> str:
    return str(ULID.from_bytes(int((NOW - 1e6) * 1000).to_bytes(6, "big") + index.to_bytes(10, "big")))


def fill(connection: sa.Connection, tasks: int) -> None:
    """Done tasks, but for the last ones: those run and wait. All with their attempts, commits and rows in the journal that are needed."""
    first_open = tasks - RUNNING - WAITING
    counts: dict[tuple[int, str], int] = {}
    for start in range(0, tasks, ROWS):
        rows, attempts, commits, files = [], [], [], []
        for index in range(start, min(start + ROWS, tasks)):
            state = "done" if index < first_open else "running" if index < first_open + RUNNING else "ready"
            run, arrived = 27_000 + index // FILES_A_RUN, NOW - 1e6 + index
            counts[run, state] = counts.get((run, state), 0) + 1
            done = arrived + 90 if state == "done" else None
            row = {"id": index + 1, "input_id": index + 1, "campaign_id": 1, "input_did": did(index), "step": "chain", "state": state}
            row |= {"run": run, "file_index": index % FILES_A_RUN, "size_bytes": 4 * 10**9, "deadline": NOW + 1e6 + index, "late": False}
            row |= {"attempts": int(state != "ready"), "allowed_failures": 4, "ready_at": arrived, "closed_at": arrived, "failures": 0}
            row |= {"created_at": arrived, "submitted_at": arrived + 1, "started_at": arrived + 2, "reported_at": done, "done_at": done}
            rows.append(row)
            name = did(index).partition(":")[2]
            if state != "done":
                file = {"origin": "buffer", "name": name, "path": f"/buffer/{name}", "state": "declared", "stream": "physics"}
                files.append(
                    file | {"did": did(index), "size_bytes": 1, "adler32": "00000001", "metadata": {}, "run": run, "found_at": arrived}
                )
            if state == "ready":
                continue
            ended = arrived + 80 if state == "done" else None
            attempt = {"id": attempt_id(index), "task_id": index + 1, "number": 1, "stages": ",".join(STAGES), "launcher": "local"}
            attempt |= {"state": "succeeded" if ended else "running", "handle": f"{index}:1234567", "token_hash": "0" * 32}
            attempt |= {
                "lease_until": arrived + 7200,
                "created_at": arrived,
                "submitted_at": arrived,
                "started_at": arrived,
                "ended_at": ended,
            }
            attempt |= {"host": "wn-01.cern.ch", "memory_bytes": 4 * 10**9, "lifetime_s": 28800.0, "cpu_s": 71.3, "rss_bytes": 270_000_000}
            attempts.append(attempt)
            if ended:
                made = {"nf_sp": [["~_large_v1_gauss.npz", 123456789, "01234567", True]]}
                made["evaluate"] = [["~_large_v1_metrics.json", 123456, "01234567", True]]
                commits += [
                    {"input_id": index + 1, "stage": stage, "attempt_id": attempt_id(index), "outputs": made.get(stage)} for stage in STAGES
                ]
        for table, content in ((task_table, rows), (attempt_table, attempts), (commit_table, commits), (file_table, files)):
            if content:
                connection.execute(sa.insert(table), content)
    summary = [
        {"campaign_id": 1, "run": run, "step": "chain", "state": state, "late": False, "tasks": n} for (run, state), n in counts.items()
    ]
    connection.execute(sa.insert(count_table), summary)


def timed(function: Callable[[], Any], times: int = 7) -> dict[str, float]:
    """Median wall and processor time in milliseconds."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    return {"wall_ms": round(median(walls), 1), "cpu_ms": round(median(cpus), 1)}


def report_of(installation: Any, attempt: str, task: int) -> None:
    """The report of a job that went well and made nothing."""
    folder = installation.job_dir(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    stages = [
        {"name": name, "state": "ok", "error_class": None, "message": None, "started": NOW, "ended": NOW, "cpu_s": 1.0, "rss_bytes": 1}
        | {"outputs": [], "metrics": {}}
        for name in STAGES
    ]
    content = {"schema": 1, "attempt": attempt, "task": str(task), "campaign": "large", "version": "v1", "host": "wn", "stages": stages}
    write_json(folder / "report.json", content)


def measure(folder: Path, store_url: str | None, tasks: int) -> dict[str, Any]:
    """All figures of one database."""
    (folder / "buffer").mkdir()
    (folder / "campaigns").mkdir()
    (folder / "site.yaml").write_text(SITE.format(store=f'store: "{store_url}"' if store_url else ""))
    (folder / "campaigns" / "c.yaml").write_text(CAMPAIGN)
    installation = open_installation(folder / "site.yaml", NOW)
    with installation.store.write() as connection:
        connection.execute(sa.text("UPDATE campaign SET taken_in_at = 1"))
        fill(connection, tasks)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("ANALYZE"))
    queue = Queue()
    began = time.process_time()
    engine = Engine(installation, {"local": queue}, jitter=lambda: 0.5)
    engine.step(NOW)
    start_ms = 1000 * (time.process_time() - began)
    now = [NOW]

    def idle() -> None:
        now[0] += 1
        engine.step(now[0])

    def busy() -> None:
        with installation.store.read() as connection:
            rows = connection.execute(sa.select(attempt_table.c.id, attempt_table.c.task_id).where(attempt_table.c.ended_at.is_(None)))
            ending = rows.fetchmany(A_STEP)
        for attempt, task in ending:
            report_of(installation, attempt, task)
            queue.gone.add(attempt)

    def step_with_ends() -> dict[str, float]:
        walls, cpus = [], []
        for _ in range(7):
            busy()
            now[0] += 1
            wall, cpu = time.perf_counter(), time.process_time()
            summary = engine.step(now[0])
            walls.append(1000 * (time.perf_counter() - wall))
            cpus.append(1000 * (time.process_time() - cpu))
            assert summary.ended == summary.launched == A_STEP, summary
        return {"wall_ms": round(median(walls), 1), "cpu_ms": round(median(cpus), 1)}

    def counts() -> None:
        with installation.store.read() as connection:
            connection.execute(sa.select(count_table)).all()
            campaign_statuses(connection)

    result = {
        "first_step_after_a_start_cpu_ms": round(start_ms, 1),
        "step_400_running": timed(idle),
        "step_50_end_50_start": step_with_ends(),
        "counts_by_run_stage_state": timed(counts),
    }
    engine.close()
    installation.lease.release()
    installation.store.close()
    return result


def growth(folder: Path, tasks: int) -> float:
    """Bytes that a done task adds to the ledger's tables and indexes on SQLite."""
    with sqlite3.connect(folder / "dune-prompt.sqlite") as connection:
        names = {name for name, table in connection.execute("SELECT name, tbl_name FROM sqlite_master") if table in LEDGER}
        sizes = dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
    return float(sum(size for name, size in sizes.items() if name in names)) / tasks


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own."""
    from tests.servers.postgres import Postgres

    with Postgres(folder) as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    options = parser.parse_args()
    result: dict[str, Any] = {"tasks": options.tasks}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "sqlite"
        folder.mkdir()
        result["sqlite"] = measure(folder, None, options.tasks)
        result["bytes_a_task"] = round(growth(folder, options.tasks))
    with tempfile.TemporaryDirectory() as name, postgres(Path(name) / "pg") as url:
        folder = Path(name) / "installation"
        folder.mkdir()
        result["postgresql"] = measure(folder, url, options.tasks)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{options.tasks} tasks, {RUNNING} running, {WAITING} waiting; {result['bytes_a_task']} bytes a task (SQLite)")
    for kind in ("sqlite", "postgresql"):
        for what, value in result[kind].items():
            print(f"  {kind:11} {what:34} {value}")


if __name__ == "__main__":
    main()
