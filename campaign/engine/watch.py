"""Looks at the jobs in flight: which have begun, which have ended, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from campaign.installation import Installation
from campaign.launchers.protocol import Job, JobStatus, Launcher, Seen
from campaign.ledger.attempts import Attempt
from campaign.ledger.tasks import Task
from dune_prompt.errors import DataError
from dune_prompt.records import Report, read_json


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over: with a report, or with the class of what went wrong."""

    attempt: Attempt
    task: Task
    report: Report | None
    error_class: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look at the jobs brought."""

    started: tuple[tuple[Attempt, Task, str | None], ...]
    ended: tuple[Ended, ...]


def job_of(installation: Installation, attempt: Attempt, task: Task) -> Job:
    """The attempt as a batch system sees it: the memory of its hungriest stage, the time of all of them."""
    campaign = installation.campaigns[task.campaign_id]
    limits = [campaign.settings.stages.limits(stage) for stage in attempt.stages]
    return Job(
        attempt=attempt.id,
        job_dir=Path(attempt.job_dir),
        script=campaign.scripts[task.step],
        memory_bytes=max(limit.memory for limit in limits),
        lifetime_s=sum(limit.lifetime for limit in limits),
        handle=attempt.handle,
    )


def look(
    installation: Installation, launchers: Mapping[str, Launcher], attempts: Sequence[Attempt], tasks: Mapping[int, Task], now: float
) -> Sighting:
    """Ask each launcher once for all its jobs. Attempts handed out over HTTP are known by their reports and leases only."""
    started: list[tuple[Attempt, Task, str | None]] = []
    ended: list[Ended] = []
    for name in sorted({attempt.launcher for attempt in attempts}):
        here = [
            attempt for attempt in attempts if attempt.launcher == name and tasks[attempt.task_id].campaign_id in installation.campaigns
        ]
        jobs = {attempt.id: job_of(installation, attempt, tasks[attempt.task_id]) for attempt in here}
        launcher = launchers.get(name)
        statuses = launcher.poll(list(jobs.values()), now) if launcher else {}
        for attempt in here:
            task, job = tasks[attempt.task_id], jobs[attempt.id]
            status = statuses.get(attempt.id) or _by_lease(attempt, now)
            if status.seen is Seen.GONE or (launcher is None and job.report.exists()):
                ended.append(_ended(attempt, task, job, status))
            elif status.seen is Seen.RUNNING and attempt.started_at is None:
                started.append((attempt, task, status.handle))
    return Sighting(tuple(started), tuple(ended))


def _by_lease(attempt: Attempt, now: float) -> JobStatus:
    if now > attempt.lease_until:
        return JobStatus(Seen.GONE, "lost", f"no sign of the job for {now - (attempt.heartbeat_at or attempt.created_at):.0f} s")
    return JobStatus(Seen.RUNNING if attempt.heartbeat_at else Seen.WAITING)


def _ended(attempt: Attempt, task: Task, job: Job, status: JobStatus) -> Ended:
    """How it ended is in the report. Without one, the batch system's word counts; without that, the job is lost."""
    ended = Ended(attempt, task, None, status.ended_by or "lost", status.message or "the job vanished without a report")
    if not job.report.exists():
        return ended
    try:
        report = Report.from_json(read_json(job.report), str(job.report))
        if report.attempt != attempt.id:
            raise DataError(f"{job.report}: is of attempt {report.attempt}")
        if [stage.name for stage in report.stages] != attempt.stages[: len(report.stages)]:
            raise DataError(f"{job.report}: its stages are not those of the attempt ({', '.join(attempt.stages)})")
    except DataError as error:
        return replace(ended, error_class="internal", message=str(error))
    failed = next((stage for stage in report.stages if stage.state != "ok"), None)
    if failed is not None:
        return Ended(attempt, task, report, failed.error_class or "payload", f"{failed.name}: {failed.message}")
    if len(report.stages) < len(attempt.stages):
        return replace(ended, report=report)
    return Ended(attempt, task, report, None, None)
