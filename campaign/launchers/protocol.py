"""What every batch system must do: take jobs, tell their states, end them, give back what they printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

# Hosts to avoid are avoided so long: where there is no other, an attempt there is better than none.
AVOID_FOR_S = 600


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt, as a batch system sees it. `job_dir` holds `assignment.json`, `job.log` and, at the end, `report.json`.

    `submission` names the submission it is part of, `handle` the job in the batch system (None: not known, or not yet).
    Memory and disk in bytes, lifetime in seconds of running time; `avoid_hosts` are where earlier attempts met trouble.
    """

    attempt: str
    job_dir: Path
    script: Path
    memory_bytes: int
    lifetime_s: float
    handle: str | None = None
    submission: str | None = None
    cpus: int = 1
    disk_bytes: int = 10 * 10**9
    avoid_hosts: tuple[str, ...] = ()

    @property
    def assignment(self) -> Path:
        return self.job_dir / "assignment.json"

    @property
    def report(self) -> Path:
        return self.job_dir / "report.json"

    @property
    def log(self) -> Path:
        return self.job_dir / "job.log"


@dataclass(frozen=True, slots=True)
class Submission:
    """Jobs handed over together: of one campaign and step, with the same limits and the same hosts to avoid.

    `id` is a ULID that no other submission has: the batch system keeps it with the jobs, so that a submission whose answer was lost is
    found again. The order of `jobs` is their index. `folder` is the submission's own, on this side; `bundle` is the tarball workers
    unpack (`campaign.bundle`). `outputs_url` is the folder outputs go to as workers see it, `assignments_url` the folder there that
    holds this submission's assignments as `<index>.json`; both None when workers share our file systems.
    """

    id: str
    campaign: str
    version: str
    step: str
    jobs: tuple[Job, ...]
    folder: Path
    bundle: Path | None = None
    outputs_url: str | None = None
    assignments_url: str | None = None


class Seen(Enum):
    """What the batch system knows of a job."""

    WAITING = "it waits for a slot"
    RUNNING = "it runs"
    GONE = "it has ended, or was never there"
    REFUSED = "the batch system did not take it"
    UNKNOWN = "the batch system cannot tell now; this says nothing about the job"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """`ended_by` is the class of a failure the launcher caused or saw (a key of `campaign.retries.POLICIES`: `time_limit`, `memory`,
    `crashed`, `site`, …), None when it does not know. `host` is where the job runs or ran."""

    seen: Seen
    ended_by: str | None = None
    message: str | None = None
    handle: str | None = None
    host: str | None = None


class Launcher(Protocol):
    """A batch system. Its answers only bound the waiting: how a job ended is in its report.

    Calls may take long (a remote one runs in a thread of its own, see `campaign.launchers.background`), but each has a limit of time.
    `answers_later`: `submit` only takes the jobs over and answers nothing; what became of them is told by `poll`.
    """

    name: str
    answers_later: bool

    def submit(self, submission: Submission) -> Mapping[str, str]:
        """Start the jobs; the handle of each by attempt. A job that could not be started is left out.

        Raises:
            TransientError: none could be started, the batch system is away.
            ConfigError: it will refuse such jobs until somebody changes a setting.
        """
        ...

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        """The state of each job, by attempt; asked for all at once. A job without a handle is looked for by its submission.

        A job on hold is ended by the launcher and told as GONE with the class of its reason.

        Raises:
            TransientError: the batch system is away, which says nothing about the jobs.
        """
        ...

    def kill(self, jobs: Sequence[Job]) -> None:
        """End the jobs, all their processes; those without a handle by their submission. What cannot be reached is left."""
        ...

    def fetch_log(self, job: Job) -> None:
        """Bring what an ended job printed to `job.log`, if it is still to be had and not there already. Never raises for its absence."""
        ...

    def available(self) -> None:
        """Ask the batch system for a sign of life.

        Raises:
            TransientError: there is none.
        """
        ...

    def something_ended(self) -> bool:
        """A cheap hint that polling now would pay."""
        ...
