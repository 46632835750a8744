"""Jobs as processes of this machine: a process group each, ended whole at its limit of time or memory.

Jobs outlive the service. A handle is `pid:start time`, which names a process for good; a restarted service finds its jobs by it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from campaign.launchers.protocol import Job, JobStatus, Seen, Submission
from dune_prompt.errors import TransientError
from dune_prompt.process import group_rss_bytes, kill_group, start_time
from stages.job import STARTED, claim_start

log = structlog.get_logger(__name__)

ENDED_BY = "ended_by"
GIVEN_UP = "given up"
# Memory of all processes is a walk through /proc, milliseconds of it.
LIMITS_EVERY_S = 1.0
# Jobs share the machine: one thread each, or two numerical libraries fight for every core.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")


class LocalLauncher:
    """Starts and watches jobs on this machine."""

    name = "local"
    answers_later = False

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._told: set[str] = set()
        self._limits_checked_at = 0.0

    def submit(self, submission: Submission) -> Mapping[str, str]:
        handles: dict[str, str] = {}
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ} | ENVIRONMENT
        for job in submission.jobs:
            try:
                with job.log.open("ab") as output:
                    child = subprocess.Popen(
                        [sys.executable, "-I", str(job.script), str(job.assignment)],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        cwd=job.job_dir,
                        env=environment,
                        start_new_session=True,
                    )
            except OSError as error:
                if not handles:
                    raise TransientError(f"local launcher: {error}") from error
                log.warning("job not started", attempt=job.attempt, error=str(error))
                break
            self._children[job.attempt] = child
            handles[job.attempt] = f"{child.pid}:{start_time(child.pid)}"
        return handles

    def poll(self, jobs: Sequence[Job], now: float) -> Mapping[str, JobStatus]:
        statuses: dict[str, JobStatus] = {}
        alive: dict[str, tuple[Job, int]] = {}
        for job in jobs:
            handle = job.handle or self._adopt(job)
            if handle is None:
                statuses[job.attempt] = JobStatus(Seen.GONE)
                continue
            pid, _, started = handle.partition(":")
            child = self._children.get(job.attempt)
            ended = child.poll() is not None if child else str(start_time(int(pid))) != started
            if ended:
                statuses[job.attempt] = self._ended(job, child)
                self._told.add(job.attempt)
            else:
                statuses[job.attempt] = JobStatus(Seen.RUNNING, handle=handle)
                alive[job.attempt] = (job, int(pid))
        if abs(now - self._limits_checked_at) >= LIMITS_EVERY_S:
            self._limits_checked_at = now
            self._enforce_limits(alive, now)
        for attempt in self._told - {job.attempt for job in jobs}:  # what is no longer asked for is settled
            self._told.discard(attempt)
            self._children.pop(attempt, None)
        return statuses

    def _adopt(self, job: Job) -> str | None:
        """The handle of a job whose start was not written down, because the service died right then.

        Whoever creates the start marker first decides: if it is us, the job will see it and not begin. None: there is no such job.
        """
        if not job.assignment.exists() or claim_start(job.job_dir, GIVEN_UP):
            return None
        pid = (job.job_dir / STARTED).read_text()
        if pid == GIVEN_UP:
            return None
        if pid and str(job.assignment).encode() in _command_of(pid):
            return f"{pid}:{start_time(int(pid))}"
        return f"{pid or 0}:gone"

    def _ended(self, job: Job, child: subprocess.Popen[bytes] | None) -> JobStatus:
        killed = job.job_dir / ENDED_BY
        if killed.exists():
            error_class, _, message = killed.read_text().partition(": ")
            return JobStatus(Seen.GONE, error_class, message)
        if child is None:
            return JobStatus(Seen.GONE)
        if child.returncode < 0:
            return JobStatus(Seen.GONE, "crashed", f"killed by {_signal_name(-child.returncode)}")
        return JobStatus(Seen.GONE, "crashed", f"ended with exit code {child.returncode}")

    def _enforce_limits(self, alive: Mapping[str, tuple[Job, int]], now: float) -> None:
        if not alive:
            return
        memory = group_rss_bytes({pid for _, pid in alive.values()})
        for job, pid in alive.values():
            age_s = now - _started_at(job, now)
            if age_s > job.lifetime_s:
                self._end(job, pid, "time_limit", f"ran longer than its limit of {job.lifetime_s:.0f} s")
            elif memory[pid] > job.memory_bytes:
                self._end(job, pid, "memory", f"held {memory[pid] / 1e6:.0f} MB, its limit is {job.memory_bytes / 1e6:.0f} MB")

    def _end(self, job: Job, pid: int, error_class: str, message: str) -> None:
        log.warning("job ended at its limit", attempt=job.attempt, reason=message)
        (job.job_dir / ENDED_BY).write_text(f"{error_class}: {message}")
        kill_group(pid)

    def kill(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.handle:
                pid, _, started = job.handle.partition(":")
                if str(start_time(int(pid))) == started:
                    kill_group(int(pid))

    def fetch_log(self, job: Job) -> None:
        """It is written where it belongs."""

    def available(self) -> None:
        """This machine is there."""

    def something_ended(self) -> bool:
        return any(child.poll() is not None for attempt, child in self._children.items() if attempt not in self._told)


def _command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _started_at(job: Job, now: float) -> float:
    try:
        return job.assignment.stat().st_mtime
    except OSError:
        return now


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
