"""Looks at the jobs in flight: which the batch system has taken, which have begun, which have ended, and how."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from campaign.installation import Installation
from campaign.launchers.protocol import Job, JobStatus, Launcher, Seen
from campaign.ledger.attempts import Attempt
from campaign.ledger.tasks import Task
from dune_prompt.errors import DataError, TransientError
from dune_prompt.records import Report, read_json

log = structlog.get_logger(__name__)

# A job elsewhere may be gone before its report has arrived: so long it is waited for.
REPORT_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over: with a report, or with the class of what went wrong."""

    attempt: Attempt
    task: Task
    report: Report | None
    error_class: str | None
    message: str | None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one look at the jobs brought."""

    taken: list[tuple[Attempt, Task, str]] = field(default_factory=list)
    started: list[tuple[Attempt, Task, JobStatus]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.taken or self.started or self.ended)


def job_of(installation: Installation, attempt: Attempt, task: Task) -> Job:
    """The attempt as a batch system sees it."""
    campaign = installation.campaigns[task.campaign_id]
    limits = campaign.limits(attempt.stages)
    return Job(
        attempt=attempt.id,
        job_dir=installation.job_dir(attempt.id),
        script=campaign.scripts[task.step],
        memory_bytes=attempt.memory_bytes or limits.memory_bytes,
        lifetime_s=attempt.lifetime_s or limits.lifetime_s,
        handle=attempt.handle,
        submission=attempt.slice_id,
        cpus=limits.cpus,
        disk_bytes=limits.disk_bytes,
        avoid_hosts=task.next_needs.avoid_hosts,
    )


class Watch:
    """Remembers between two looks since when a job is gone without a report."""

    def __init__(self, installation: Installation, launchers: Mapping[str, Launcher]) -> None:
        self._installation, self._launchers = installation, launchers
        self._gone_since: dict[str, float] = {}

    def look(self, attempts: Sequence[Attempt], tasks: Mapping[int, Task], reported: set[str], now: float) -> Sighting:
        """Ask each launcher once for all its jobs.

        `reported` are attempts whose report has just arrived. Attempts handed out over HTTP are known by reports and leases only. A batch
        system that is away leaves its jobs as they are.
        """
        sighting = Sighting()
        # All launchers are asked, those without jobs too: what is no longer asked for is settled.
        by_launcher: dict[str, list[Attempt]] = {name: [] for name in self._launchers}
        for attempt in attempts:
            if tasks[attempt.task_id].campaign_id in self._installation.campaigns:
                by_launcher.setdefault(attempt.launcher, []).append(attempt)
        for name, here in sorted(by_launcher.items()):
            jobs = {attempt.id: job_of(self._installation, attempt, tasks[attempt.task_id]) for attempt in here}
            launcher = self._launchers.get(name)
            try:
                statuses = launcher.poll(list(jobs.values()), now) if launcher else {}
            except TransientError as error:
                log.warning("batch system away; its jobs are left as they are", launcher=name, error=str(error))
                continue
            for attempt in here:
                status = statuses.get(attempt.id) or _by_lease(attempt, now)
                self._add(sighting, attempt, tasks[attempt.task_id], jobs[attempt.id], launcher, status, reported, now)
        self._gone_since = {attempt: since for attempt, since in self._gone_since.items() if attempt in {a.id for a in attempts}}
        return sighting

    def _add(
        self,
        sighting: Sighting,
        attempt: Attempt,
        task: Task,
        job: Job,
        launcher: Launcher | None,
        status: JobStatus,
        reported: set[str],
        now: float,
    ) -> None:
        elsewhere = launcher is None or launcher.answers_later
        if (attempt.id in reported or (launcher is None and job.report.exists())) and elsewhere:
            sighting.ended.append(_ended(attempt, task, job, status))
        elif status.seen is Seen.GONE:
            if launcher is None or not elsewhere or self._waited_for_report(job, attempt, task, now):
                sighting.ended.append(_ended(attempt, task, job, status))
        elif status.seen is Seen.REFUSED:
            error_class = status.ended_by or "launch"
            sighting.ended.append(Ended(attempt, task, None, error_class, status.message or "the batch system did not take the job"))
        elif status.seen is Seen.UNKNOWN and self._is_silent(attempt, now):
            silent = f"no sign of the job for {now - _last_sign(attempt):.0f} s, and {attempt.launcher} does not answer"
            sighting.ended.append(Ended(attempt, task, None, "lost", silent, attempt.host))
        elif (status.seen is Seen.RUNNING or attempt.heartbeat_at is not None) and attempt.started_at is None:
            sighting.started.append((attempt, task, status))
        elif status.handle and attempt.handle is None:
            sighting.taken.append((attempt, task, status.handle))

    def _waited_for_report(self, job: Job, attempt: Attempt, task: Task, now: float) -> bool:
        """Whether the report of a job elsewhere is there, or has been waited for long enough."""
        if job.report.exists() or self._fetch_report(job, attempt, task):
            return True
        return now - self._gone_since.setdefault(attempt.id, now) >= REPORT_GRACE_S

    def _fetch_report(self, job: Job, attempt: Attempt, task: Task) -> bool:
        """A job that could not reach us leaves its report beside its outputs. A place that cannot be read is no reason to stop."""
        left = self._installation.output_dir(self._installation.campaigns[task.campaign_id].settings, attempt.id) / job.report.name
        draft = job.report.with_suffix(".tmp")
        try:
            shutil.copyfile(left, draft)
            draft.replace(job.report)
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning("a report cannot be fetched", attempt=attempt.id, error=str(error))
            return False
        return True

    def _is_silent(self, attempt: Attempt, now: float) -> bool:
        settings = next((item for item in self._installation.site.launchers if item.kind == attempt.launcher), None)
        return now - _last_sign(attempt) > (getattr(settings, "lost_after", None) or 1800.0)


def _last_sign(attempt: Attempt) -> float:
    return attempt.heartbeat_at or attempt.started_at or attempt.submitted_at or attempt.created_at


def _by_lease(attempt: Attempt, now: float) -> JobStatus:
    if now > attempt.lease_until:
        return JobStatus(Seen.GONE, "lost", f"no sign of the job for {now - (attempt.heartbeat_at or attempt.created_at):.0f} s")
    return JobStatus(Seen.RUNNING if attempt.heartbeat_at else Seen.WAITING)


def _ended(attempt: Attempt, task: Task, job: Job, status: JobStatus) -> Ended:
    """How it ended is in the report. Without one, the batch system's word counts; without that, the job is lost."""
    host = status.host or attempt.host
    ended = Ended(attempt, task, None, status.ended_by or "lost", status.message or "the job vanished without a report", host)
    if not job.report.exists():
        return ended
    try:
        report = Report.from_json(read_json(job.report), str(job.report))
        if report.attempt != attempt.id:
            raise DataError(f"{job.report}: is of attempt {report.attempt}")
        if tuple(stage.name for stage in report.stages) != attempt.stages[: len(report.stages)]:
            raise DataError(f"{job.report}: its stages are not those of the attempt ({', '.join(attempt.stages)})")
    except DataError as error:
        return replace(ended, error_class="internal", message=str(error))
    host = report.host or host
    failed = next((stage for stage in report.stages if stage.state != "ok"), None)
    if failed is not None:
        return Ended(attempt, task, report, failed.error_class or "payload", f"{failed.name}: {failed.message}", host)
    if len(report.stages) < len(attempt.stages):
        return replace(ended, report=report, host=host)
    return Ended(attempt, task, report, None, None, host)
