"""What a payload costs: processor time by step, wall time, memory. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from stages.memory import peak_rss_bytes


class Others(Protocol):
    """What other processes took."""

    cpu_s: dict[str, float]
    rss_bytes: int


class Stopwatch:
    """Adds up the processor seconds of named steps from its creation on; steps do not nest."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens inside for step `name`."""
        begin = time.process_time()
        try:
            yield
        finally:
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.process_time() - begin

    def summary(self, input_bytes: int, others: Others | None = None) -> dict[str, Any]:
        """The `performance` part of the data-quality record. Peak memory is that of the process, and of `others` together."""
        wall_s = time.monotonic() - self._wall
        cpu_s, rss_bytes = time.process_time() - self._cpu, peak_rss_bytes()
        if others is not None:
            cpu_s, rss_bytes = cpu_s + sum(others.cpu_s.values()), rss_bytes + others.rss_bytes
        return {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(cpu_s, 3),
            "rss_bytes": rss_bytes,
            "input_bytes": input_bytes,
            "mb_per_s": round(input_bytes / 1e6 / wall_s, 3) if wall_s > 0 else None,
            "cpu_s_by_step": {name: round(seconds, 4) for name, seconds in self.cpu_s.items()},
        }
