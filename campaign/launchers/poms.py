"""POMS as a launcher: it is not called, it calls. `dune-prompt launch` fetches jobs here and submits them somewhere else.

Nothing is ever submitted from this side. A launch that was given jobs and named none of them is completed by the next one; jobs that no
launch completes are given up, and go to whoever takes jobs then. Where jobsub is installed here too, it tells of the jobs that were
submitted; without it, their heartbeats and leases do.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence

from ulid import ULID

from campaign.launchers.background import Background
from campaign.launchers.health import Health
from campaign.launchers.jobsub import JobsubLauncher
from campaign.launchers.protocol import Job, JobStatus, Launcher, Seen, Submission
from dune_prompt.errors import TransientError
from dune_prompt.settings.launchers import PomsLauncherSettings


class PomsLauncher:
    """Knows when the last launch came, and asks jobsub about jobs if it can. Its calls return at once."""

    name = "poms"
    answers_later = True

    def __init__(self, settings: PomsLauncherSettings, queue: Launcher | None = None, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._queue = settings, queue
        # Before the first one it is as if there had just been one: after a restart nobody is out.
        self._heard_at = self._answering_since = clock()

    @classmethod
    def open(cls, settings: PomsLauncherSettings) -> PomsLauncher:
        """With jobsub where its commands are on the PATH. `command_path` and `token_file` are those of the launch host."""
        if shutil.which("jobsub_q") is None:
            return cls(settings)
        here = settings.model_copy(update={"command_path": None, "token_file": None})
        return cls(settings, Background(JobsubLauncher(here), poll_every=settings.poll_every, silent_after=settings.silent_after))

    def heard(self, now: float) -> None:
        """A launch has come."""
        if now - self._heard_at > self._settings.silent_after:
            self._answering_since = now
        self._heard_at = now

    def health(self) -> Health:
        """It is silent since the last launch."""
        return Health(answered_at=self._heard_at, unanswered_since=self._heard_at, answering_since=self._answering_since)

    def submit(self, submission: Submission) -> Mapping[str, str]:
        """The engine never does (`Engine._is_fetched`)."""
        raise TransientError("jobs for POMS are fetched by its launches")

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        """Nothing is said of jobs that jobsub cannot be asked about."""
        waiting = [job for job in jobs if job.handle is None]
        given_up_after = self._settings.silent_after + self._settings.retake_after
        statuses = {job.attempt: JobStatus(Seen.WAITING) for job in waiting if now - _made_at(job) <= given_up_after}
        message = f"no launch of POMS has submitted it for {given_up_after:.0f} s"
        statuses |= {job.attempt: JobStatus(Seen.REFUSED, "launch", message) for job in waiting if job.attempt not in statuses}
        if self._queue is not None:
            told = self._queue.poll([job for job in jobs if job.handle is not None], now)
            statuses |= {attempt: status for attempt, status in told.items() if status.seen is not Seen.UNKNOWN}
        return statuses

    def kill(self, jobs: Sequence[Job]) -> None:
        """Jobs that cannot be reached are told to stop at their next heartbeat."""
        if self._queue is not None:
            self._queue.kill([job for job in jobs if job.handle is not None])

    def fetch_log(self, job: Job) -> None:
        if self._queue is not None and job.handle is not None:
            self._queue.fetch_log(job)

    def available(self) -> None:
        if self._queue is not None:
            self._queue.available()

    def something_ended(self) -> bool:
        return self._queue is not None and self._queue.something_ended()

    def close(self) -> None:
        """End the thread that asks jobsub."""
        if isinstance(self._queue, Background):
            self._queue.close()


def _made_at(job: Job) -> float:
    return ULID.from_str(job.attempt).timestamp
