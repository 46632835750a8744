"""How long a file takes from the rename of its sidecar to processed: `python -m benchmarks.latency [--json] [--only NAME …]`.

A payload of one second (0.1 s for the largest burst), 8 slots, a scan every 0.1 s, declaration included. The figures of the prototype
(ligerlac/prompt-processing, its payload replaced by `sleep 1`) are in brackets.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from benchmarks import figures
from benchmarks.engine import SETTLE_S, burst
from benchmarks.installation import Pipeline
from campaign.ledger.tables import task_table


def trickle(files: int, rate_hz: float, history: int = 0) -> dict[str, float]:
    """Files come one by one; `history` files were processed before."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder) / "p", slots=8, seconds=1.0)
        if history:
            pipeline.add_history(history)
        pipeline.start()
        time.sleep(SETTLE_S)
        try:
            began = time.monotonic()
            for number in range(files):
                pipeline.write_files(1)
                time.sleep(max(began + (number + 1) / rate_hz - time.monotonic(), 0))
            pipeline.wait_until_processed(60, already=history)
            columns = (task_table.c.closed_at, task_table.c.done_at)
            fresh = task_table.c.run == pipeline.run
            with pipeline.store.read() as connection:
                latencies = sorted(row.done_at - row.closed_at for row in connection.execute(sa.select(*columns).where(fresh)))
        finally:
            pipeline.stop()
    return {
        "files": files,
        "rate_hz": rate_hz,
        "history": history,
        "p50_s": round(median(latencies), 2),
        "p95_s": round(latencies[int(0.95 * (len(latencies) - 1))], 2),
        "max_s": round(latencies[-1], 2),
    }


FIGURES: dict[str, Callable[[], dict[str, Any]]] = {
    "trickle": lambda: trickle(100, 2.0),
    "trickle_history": lambda: trickle(100, 2.0, history=50_000),
    "burst_200": lambda: burst(200, 8, 1.0),
    "burst_2000": lambda: burst(2000, 8, 1.0),
    "burst_10000": lambda: burst(10_000, 8, 0.1),
}
PROTOTYPE = {
    "trickle": "1.72 / 2.85 s, without declaration",
    "trickle_history": "48.7 / 56.6 s",
    "burst_200": "29.7 s, 201-204 jobs",
    "burst_2000": "dies",
    "burst_10000": "dies",
}


def main() -> None:
    figures.run(__doc__, FIGURES, PROTOTYPE)


if __name__ == "__main__":
    main()
