"""What jobs tell between two steps: heartbeats and the arrival of reports. Kept in memory; a step takes them all at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from campaign.ledger.attempts import Attempt

# A heartbeat is good for this long; jobs send one a minute.
HEARTBEAT_LEASE_S = 1800.0
# Heartbeats are written down no more often than this: hundreds of jobs send them.
WRITE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: when, and from where."""

    at: float
    host: str | None

    def lease_until(self, attempt: Attempt) -> float:
        return max(attempt.lease_until, self.at + HEARTBEAT_LEASE_S)


class Contact:
    """Filled by the HTTP interface, emptied by the step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beats: dict[str, Beat] = {}
        self._first: set[str] = set()
        self._reported: set[str] = set()
        self._written_at = float("-inf")

    def beat(self, attempt: Attempt, host: str | None, now: float) -> bool:
        """A job is alive. Whether this is the first time it says so: the next step should not wait."""
        with self._lock:
            first = attempt.heartbeat_at is None and attempt.id not in self._beats
            self._beats[attempt.id] = Beat(now, host)
            if first:
                self._first.add(attempt.id)
            return first

    def reported(self, attempt: str) -> None:
        """The report of a job has arrived."""
        with self._lock:
            self._reported.add(attempt)

    def collect(self, now: float) -> tuple[dict[str, Beat], set[str]]:
        """The heartbeats that are to be written down now, and the attempts whose reports arrived since the last time."""
        with self._lock:
            reported, self._reported = self._reported, set()
            if not self._first and abs(now - self._written_at) < WRITE_EVERY_S:
                return {}, reported
            beats, self._beats, self._first, self._written_at = self._beats, {}, set(), now
            return beats, reported
