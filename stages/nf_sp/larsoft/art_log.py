"""What a log of art tells: exceptions, events, processor time and memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MAX_MESSAGE = 300
_BEGIN = re.compile(r"^\s*---- (?P<category>\S+) BEGIN")
_END = re.compile(r"^\s*---- (?P<category>\S+) END")
_EVENTS = re.compile(r"TrigReport Events total = (?P<total>\d+) passed = (?P<passed>\d+) failed = (?P<failed>\d+)")
_TIME = re.compile(r"TimeReport CPU = (?P<cpu>[\d.]+) Real = (?P<real>[\d.]+)")
_MEMORY = re.compile(r"MemReport\s+VmPeak = (?P<peak>[\d.]+) VmHWM = (?P<hwm>[\d.]+)")


@dataclass(slots=True)
class ArtLog:
    """The digest: the first exception (category and text), events, seconds, and the largest resident memory in MB; None: not told."""

    exception: str | None = None
    events_total: int | None = None
    events_passed: int | None = None
    events_failed: int | None = None
    cpu_s: float | None = None
    real_s: float | None = None
    rss_mb: float | None = None

    @classmethod
    def read(cls, path: Path) -> ArtLog:
        """Read a log, line by line: it may be large."""
        digest, category, lines = cls(), None, list[str]()
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if category is None and digest.exception is None and (begin := _BEGIN.match(line)):
                    category = begin["category"]
                elif category is not None:
                    if _END.match(line):
                        digest.exception, category = f"{category}: {' '.join(lines)}"[:MAX_MESSAGE], None
                    elif sum(map(len, lines)) < MAX_MESSAGE and line.strip():
                        lines.append(line.strip())
                digest._numbers(line)
        if category is not None:
            digest.exception = f"{category}: {' '.join(lines)}"[:MAX_MESSAGE]
        return digest

    def _numbers(self, line: str) -> None:
        if "Report" not in line:
            return
        if found := _EVENTS.search(line):
            self.events_total, self.events_passed, self.events_failed = (int(found[name]) for name in ("total", "passed", "failed"))
        elif found := _TIME.search(line):
            self.cpu_s, self.real_s = float(found["cpu"]), float(found["real"])
        elif found := _MEMORY.search(line):
            self.rss_mb = float(found["hwm"])

    def metrics(self) -> dict[str, float | int | None]:
        """For the report."""
        return {
            "events_total": self.events_total,
            "events_passed": self.events_passed,
            "events_failed": self.events_failed,
            "lar_cpu_s": self.cpu_s,
            "lar_real_s": self.real_s,
            "lar_rss_mb": self.rss_mb,
        }
