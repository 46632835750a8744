"""A raw file of the simulation, from its arrival to its one end."""

from __future__ import annotations

from enum import Enum

from campaign.retries import Needs


class State(Enum):
    """Where a file is. It ends in exactly one of the last five."""

    COMING = "found, verified, taken in"
    READY = "waits for a slot"
    WAITING = "waits to be tried again"
    IN_FLIGHT = "is with a batch system"
    REPORTED = "its job went well; its outputs are being declared"
    PROCESSED = "processed"
    PARKED = "failed its last allowed attempt"
    GIVEN_UP = "left the buffer unprocessed"
    OVERFLOWED = "found the buffer full"
    OPEN = "still open when the simulation ended"


ENDS = (State.PROCESSED, State.PARKED, State.GIVEN_UP, State.OVERFLOWED, State.OPEN)


class File:
    """A file and its task. Times in seconds from the start; `job_s` is how long a job on it takes."""

    __slots__ = (
        "arrived",
        "attempts",
        "bad",
        "deadline",
        "failures",
        "gone",
        "job_s",
        "late",
        "needs",
        "number",
        "run",
        "state",
        "stream",
    )

    def __init__(self, number: int, stream: int, run: int, arrived: float, job_s: float) -> None:
        self.number, self.stream, self.run, self.arrived, self.job_s = number, stream, run, arrived, job_s
        self.deadline = arrived
        self.late = False  # waits, and cannot be prompt any more: goes after those that can
        self.bad = False  # counted as not prompt
        self.failures = self.attempts = 0
        self.needs = Needs()
        self.state = State.COMING
        self.gone = False  # out of the buffer
