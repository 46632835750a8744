"""What a log of `wire-cell` tells: the seconds of each kind of node, and its last complaint."""

from __future__ import annotations

import re
from pathlib import Path

_TIMER = re.compile(r"Timer: (?P<wall>[\d.eE+-]+) (?:wall-)?sec, (?P<core>[\d.eE+-]+) (?:core-)?sec: \((?P<type>[^)]+)\)")
_ERROR = re.compile(r"\[ *(?:error|critical) *\]|\b(?:ERROR|CRITICAL|terminate called|what\(\):|THROW)", re.IGNORECASE)
MAX_CHARACTERS = 400


def core_seconds(log: Path) -> dict[str, float]:
    """Processor seconds by type of node, added up over the nodes."""
    found: dict[str, float] = {}
    if log.is_file():
        with log.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if timer := _TIMER.search(line):
                    kind = re.sub(r"\W+", "_", timer["type"].rpartition("::")[2])
                    found[kind] = found.get(kind, 0.0) + float(timer["core"])
    return {kind: round(seconds, 3) for kind, seconds in found.items()}


def complaint(*logs: Path) -> str:
    """The last lines that look like an error."""
    lines: list[str] = []
    for log in logs:
        if log.is_file():
            with log.open(encoding="utf-8", errors="replace") as file:
                lines += [line.strip() for line in file if _ERROR.search(line)]
    return " | ".join(lines[-4:])[-MAX_CHARACTERS:]
