"""What every batch system must do: take jobs, tell their states, end them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt, as a batch system sees it. `job_dir` holds `assignment.json`, `job.log` and, at the end, `report.json`."""

    attempt: str
    job_dir: Path
    script: Path
    memory_bytes: int
    lifetime_s: float
    handle: str | None = None

    @property
    def assignment(self) -> Path:
        return self.job_dir / "assignment.json"

    @property
    def report(self) -> Path:
        return self.job_dir / "report.json"

    @property
    def log(self) -> Path:
        return self.job_dir / "job.log"


class Seen(Enum):
    """What the batch system knows of a job."""

    WAITING = "it waits for a slot"
    RUNNING = "it runs"
    GONE = "it has ended, or was never there"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """`ended_by` is the class of a failure the launcher caused or saw (`time_limit`, `memory`, `crashed`), None when it does not know."""

    seen: Seen
    ended_by: str | None = None
    message: str | None = None
    handle: str | None = None


class Launcher(Protocol):
    """A batch system. Its answers only bound the waiting: how a job ended is in its report."""

    name: str

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str]:
        """Start the jobs; the handle of each by attempt. A job that could not be started is left out.

        Raises:
            TransientError: none could be started, the batch system is away.
        """
        ...

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        """The state of each job, by attempt; asked for all at once.

        Raises:
            TransientError: the batch system is away, which says nothing about the jobs.
        """
        ...

    def kill(self, jobs: Sequence[Job]) -> None:
        """End the jobs, all their processes."""
        ...

    def something_ended(self) -> bool:
        """A cheap hint that polling now would pay."""
        ...
