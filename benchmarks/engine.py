"""How fast the pipeline goes when the payload does nothing: `python -m benchmarks.engine [--json] [--files N] [--slots N]`.

Daemon and service run as processes of their own; a job is one interpreter that walks the whole chain.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import sqlalchemy as sa

from benchmarks.installation import Pipeline
from campaign.ledger.tables import task_table

SETTLE_S = 4.0


def cpu_s(pid: int) -> float:
    """CPU time of a process without its children (`proc(5)`, fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def measure(files: int, slots: int) -> dict[str, float]:
    """Let everything start, then `files` files arrive at once; timed from the first task made to the last one done."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder) / "p", slots=slots)
        pipeline.start()
        time.sleep(SETTLE_S)
        try:
            before = {name: cpu_s(process.pid) for name, process in pipeline.processes.items()}
            pipeline.write_files(files)
            pipeline.wait_until_processed(60 + files)
            cpu = {name: cpu_s(process.pid) - before[name] for name, process in pipeline.processes.items()}
            columns = (task_table.c.closed_at, task_table.c.created_at, task_table.c.started_at, task_table.c.done_at)
            with pipeline.store.read() as connection:
                rows = connection.execute(sa.select(*columns)).all()
        finally:
            pipeline.stop()
    wall = max(row.done_at for row in rows) - min(row.created_at for row in rows)
    return {
        "files": files,
        "slots": slots,
        "wall_s": round(wall, 2),
        "files_per_s": round(files / wall, 1),
        "service_cpu_ms_per_file": round(1000 * cpu["service"] / files, 2),
        "daemon_cpu_ms_per_file": round(1000 * cpu["daemon"] / files, 2),
    }


def trickle(files: int, rate_hz: float) -> dict[str, float]:
    """Latency when files come one by one: sidecar renamed to declared, and to processed."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder) / "p", slots=2)
        pipeline.start()
        time.sleep(SETTLE_S)
        try:
            for _ in range(files):
                pipeline.write_files(1)
                time.sleep(1 / rate_hz)
            pipeline.wait_until_processed(60)
            columns = (task_table.c.closed_at, task_table.c.done_at)
            with pipeline.store.read() as connection:
                latencies = sorted(row.done_at - row.closed_at for row in connection.execute(sa.select(*columns)))
        finally:
            pipeline.stop()
    return {
        "files": files,
        "rate_hz": rate_hz,
        "p50_s": round(median(latencies), 2),
        "p95_s": round(latencies[int(0.95 * (len(latencies) - 1))], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    result = {"burst": measure(options.files, options.slots), "trickle": trickle(20, 2.0)}
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, values in result.items():
        print(name, "  ".join(f"{key} {value}" for key, value in values.items()))


if __name__ == "__main__":
    main()
