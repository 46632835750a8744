"""What the ledger has seen lately: arrival rate, file size, job times, failures, latencies. The defaults of a simulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, commit_table, task_table
from campaign.states import AttemptState, TaskState

HOURS = 24.0
ENOUGH = 20  # fewer than that are no measurement
MOST = 20_000  # rows looked at, the newest first
# Classes that say something of batch systems and outages, not of jobs: they are simulated as outages.
NOT_OF_JOBS = ("launch",)


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one campaign in the last `hours`; None or empty: too little was seen. Times in seconds.

    `job_s` are the times jobs held their slots for one file, all its steps; `latency_s` from submission to start, by launcher.
    `failures` are shares of the ended attempts. `intake_s` is from a file's end to its task, `declare_s` from the job's report to the
    outputs in the catalogue.
    """

    hours: float
    files_per_s: float | None = None
    files: int = 0
    file_bytes: int | None = None
    job_s: tuple[float, ...] = ()
    latency_s: tuple[float, ...] = ()
    failures: tuple[tuple[str, float], ...] = ()
    attempts: int = 0
    intake_s: float | None = None
    declare_s: float | None = None
    output_bytes: int | None = None

    @property
    def job_mean_s(self) -> float | None:
        """How long a job on a file takes on average."""
        return fmean(self.job_s) if self.job_s else None


def measure(connection: sa.Connection, campaign: str, version: str, now: float, hours: float = HOURS) -> Measured:
    """Read the ledger. Only reads; nothing is measured for a campaign that has not run."""
    c = campaign_table.c
    campaign_id = connection.execute(sa.select(c.id).where(c.name == campaign, c.version == version)).scalar_one_or_none()
    if campaign_id is None:
        return Measured(hours)
    since = now - 3600 * hours
    files_per_s, files, file_bytes, intake_s = _arrivals(connection, campaign_id, since)
    failures, attempts = _failures(connection, campaign_id, since)
    return Measured(
        hours=hours,
        files_per_s=files_per_s,
        files=files,
        file_bytes=file_bytes,
        job_s=_job_times(connection, campaign_id, since),
        latency_s=_latencies(connection, campaign_id, since),
        failures=failures,
        attempts=attempts,
        intake_s=intake_s,
        declare_s=_declaring(connection, campaign_id, since),
        output_bytes=_output_bytes(connection, campaign_id, since),
    )


def _arrivals(connection: sa.Connection, campaign_id: int, since: float) -> tuple[float | None, int, int | None, float | None]:
    """Files per second between the first and the last file, how many, their size, and how soon they had their tasks."""
    c = task_table.c
    of_file = c.step.in_(("chain", "nf_sp"))
    statement = (
        sa.select(c.closed_at, c.created_at, c.size_bytes)
        .where(c.campaign_id == campaign_id, of_file, c.closed_at >= since)
        .order_by(c.closed_at.desc())
        .limit(MOST)
    )
    rows = connection.execute(statement).all()
    if len(rows) < ENOUGH:
        return None, len(rows), None, None
    span = rows[0].closed_at - rows[-1].closed_at
    rate = (len(rows) - 1) / span if span > 0 else None
    sizes = [row.size_bytes for row in rows if row.size_bytes > 0]
    return rate, len(rows), round(median(sizes)) if sizes else None, max(median(row.created_at - row.closed_at for row in rows), 0.0)


def _attempts(connection: sa.Connection, campaign_id: int, since: float, *columns: Any) -> Sequence[Any]:
    a = attempt_table.c
    statement = (
        sa.select(*columns)
        .join(task_table, task_table.c.id == a.task_id)
        .where(task_table.c.campaign_id == campaign_id, a.ended_at >= since)
        .order_by(a.ended_at.desc())
        .limit(MOST)
    )
    return connection.execute(statement).all()


def _job_times(connection: sa.Connection, campaign_id: int, since: float) -> tuple[float, ...]:
    """For each file that is through: the time all its jobs held their slots, shortest first. Attempts that failed are counted elsewhere."""
    a, t = attempt_table.c, task_table.c
    rows = _attempts(connection, campaign_id, since, t.input_did, t.step, a.state, a.started_at, a.ended_at, a.number)
    total: Counter[str] = Counter()
    steps: dict[str, set[str]] = {}
    continued: set[str] = set()
    for row in rows:
        if row.state != AttemptState.SUCCEEDED or row.started_at is None:
            continue
        total[row.input_did] += row.ended_at - row.started_at
        steps.setdefault(row.input_did, set()).add(row.step)
        if row.number > 1:
            continued.add(row.input_did)  # a later attempt may have begun in the middle of the chain
    whole = max((len(found) for found in steps.values()), default=0)
    times = sorted(max(total[did], 0.0) for did, found in steps.items() if len(found) == whole and did not in continued)
    return tuple(times) if len(times) >= ENOUGH else ()


def _latencies(connection: sa.Connection, campaign_id: int, since: float) -> tuple[float, ...]:
    a = attempt_table.c
    rows = _attempts(connection, campaign_id, since, a.submitted_at, a.started_at)
    started = [row for row in rows if row.submitted_at is not None and row.started_at is not None]
    times = sorted(max(row.started_at - row.submitted_at, 0.0) for row in started)
    return tuple(times) if len(times) >= ENOUGH else ()


def _failures(connection: sa.Connection, campaign_id: int, since: float) -> tuple[tuple[tuple[str, float], ...], int]:
    a = attempt_table.c
    rows = [row for row in _attempts(connection, campaign_id, since, a.error_class, a.state) if row.error_class not in NOT_OF_JOBS]
    if len(rows) < ENOUGH:
        return (), len(rows)
    classes = Counter(row.error_class or "lost" for row in rows if row.state != AttemptState.SUCCEEDED)
    return tuple((name, number / len(rows)) for name, number in sorted(classes.items())), len(rows)


def _declaring(connection: sa.Connection, campaign_id: int, since: float) -> float | None:
    c = task_table.c
    done = c.campaign_id == campaign_id, c.state == TaskState.DONE, c.done_at >= since, c.reported_at.is_not(None)
    rows = connection.execute(sa.select(c.reported_at, c.done_at).where(*done).order_by(c.done_at.desc()).limit(MOST)).all()
    return max(median(row.done_at - row.reported_at for row in rows), 0.0) if len(rows) >= ENOUGH else None


def _output_bytes(connection: sa.Connection, campaign_id: int, since: float) -> int | None:
    """What a file's outputs weigh: median of the latest."""
    t = task_table.c
    latest = sa.select(t.input_id).where(t.campaign_id == campaign_id, t.done_at >= since).order_by(t.done_at.desc()).limit(500)
    rows = connection.execute(
        sa.select(commit_table.c.input_id, commit_table.c.outputs).where(commit_table.c.input_id.in_(latest.scalar_subquery()))
    )
    total: Counter[int] = Counter()
    for row in rows:
        total[row.input_id] += sum(int(output[1]) for output in row.outputs or ())
    return round(median(total.values())) if len(total) >= ENOUGH else None
