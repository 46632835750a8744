"""What a reconciliation finds, and what it does about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was not as it should be. `subject`: the file, run or attempt; `action`: what puts it right; `done`: it was done."""

    what: str
    subject: str
    action: str
    done: bool = False


def table(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings by kind, in the order they were made: how many, what was or is to be done, an example."""
    rows: dict[tuple[str, str, bool], dict[str, Any]] = {}
    for item in findings:
        new = {"what": item.what, "number": 0, "action": item.action, "done": item.done, "example": item.subject}
        rows.setdefault((item.what, item.action, item.done), new)["number"] += 1
    return list(rows.values())
