"""How fast the pipeline goes when the payload does nothing: `python -m benchmarks.engine [--json] [--only NAME …]`.

Daemon and service run as processes of their own; a job is one interpreter that walks the whole chain. Declaration is included.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import figures
from benchmarks.installation import Pipeline
from campaign.ledger.tables import attempt_table, task_table

SETTLE_S = 4.0


def cpu_s(pid: int) -> float:
    """CPU time of a process without its children (`proc(5)`, fields 14 and 15 of `stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def burst(files: int, slots: int, seconds: float = 0.0) -> dict[str, float]:
    """Let everything start, then `files` files arrive at once: timed from the first file's sidecar to the last one processed."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder) / "p", slots=slots, seconds=seconds)
        pipeline.start()
        time.sleep(SETTLE_S)
        try:
            before = {name: cpu_s(process.pid) for name, process in pipeline.processes.items()}
            began = time.time()
            pipeline.write_files(files)
            pipeline.wait_until_processed(120 + files, pause_s=0.5)
            cpu = {name: cpu_s(process.pid) - before[name] for name, process in pipeline.processes.items()}
            with pipeline.store.read() as connection:
                done = sorted(connection.execute(sa.select(task_table.c.done_at)).scalars())
                jobs = connection.execute(sa.select(sa.func.count()).select_from(attempt_table)).scalar_one()
        finally:
            pipeline.stop()
    # Sustained: of the middle four fifths, when neither the first nor the last files are special.
    first, last = files // 10, files - files // 10 - 1
    return {
        "files": files,
        "slots": slots,
        "job_s": seconds,
        "wall_s": round(done[-1] - began, 2),
        "files_per_s": round((last - first) / (done[last] - done[first]), 1),
        "jobs_started": jobs,
        "service_cpu_ms_per_file": round(1000 * cpu["service"] / files, 2),
        "daemon_cpu_ms_per_file": round(1000 * cpu["daemon"] / files, 2),
    }


def kills(files: int, times: int) -> dict[str, float]:
    """SIGKILL to the service again and again while `files` jobs run: what was lost, what was done twice."""
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder) / "p", slots=4)
        pipeline.start()
        time.sleep(SETTLE_S)
        try:
            pipeline.write_files(files)
            killed = 0
            while pipeline.processed() < files and killed < times:
                time.sleep(chance.uniform(0.3, 1.2))
                pipeline.kill("service")
                killed += 1
            pipeline.wait_until_processed(120 + files, pause_s=0.5)
            made = pipeline.times_processed("evaluate")
            with pipeline.store.read() as connection:
                jobs = connection.execute(sa.select(sa.func.count()).select_from(attempt_table)).scalar_one()
        finally:
            pipeline.stop()
    lost, twice = sum(n == 0 for n in made.values()), sum(n > 1 for n in made.values())
    return {"files": files, "kills": killed, "lost": lost, "duplicated": twice, "jobs_started": jobs}


FIGURES: dict[str, Callable[[], dict[str, Any]]] = {
    "sustained": lambda: burst(600, 4),
    "burst_200": lambda: burst(200, 8),
    "kills": lambda: kills(1000, 50),
}


def main() -> None:
    figures.run(__doc__, FIGURES)


if __name__ == "__main__":
    main()
