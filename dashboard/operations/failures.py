"""What went wrong: tasks that wait for a person, and the failed attempts of the last day, each with the log of its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, task_table
from campaign.states import TaskState
from dashboard.operations.campaigns import Campaigns, of_campaigns

RECENT_S = 86400.0
SHOWN = 40


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed. `state` is where it is now, `attempt` its job (None: it never had one), `retry_at` when it is tried again."""

    task: int
    attempt: str | None
    number: int | None
    at: float | None
    input_did: str
    run: int
    file_index: int | None
    campaign: str
    version: str
    step: str
    state: str
    error_class: str
    message: str
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class FailureClass:
    """How many attempts failed in this way within the last day, and the newest of them: its id (that of its log), file and message."""

    error_class: str
    attempts: int
    attempt: str
    at: float
    input_did: str
    run: int
    file_index: int | None
    message: str


def read_failures(connection: sa.Connection, campaigns: Campaigns, now: float, limit: int = SHOWN) -> list[Failure]:
    """Parked tasks first, then the latest failed attempts of other tasks, newest first."""
    parked = _parked(connection, campaigns, limit, of_campaigns(campaigns))
    recent = _attempts(connection, campaigns, limit, attempt_table.c.ended_at > now - RECENT_S, task_table.c.state != TaskState.PARKED)
    return [*parked, *recent][:limit]


def read_failures_of_run(connection: sa.Connection, campaigns: Campaigns, run: int, limit: int = SHOWN) -> list[Failure]:
    """The same for one run, over all its time."""
    of_run = (task_table.c.run == run, of_campaigns(campaigns))
    parked = _parked(connection, campaigns, limit, *of_run)
    return [*parked, *_attempts(connection, campaigns, limit, *of_run, task_table.c.state != TaskState.PARKED)][:limit]


def read_failure_classes(connection: sa.Connection, campaigns: Campaigns, now: float) -> list[FailureClass]:
    """The failed attempts of the last day by class, the most frequent first."""
    a, t = attempt_table.c, task_table.c
    number = sa.func.count()
    # Attempt ids are ULIDs: the greatest is the latest.
    classes = (
        sa.select(a.error_class, number.label("attempts"), sa.func.max(a.id).label("newest"))
        .join_from(attempt_table, task_table, t.id == a.task_id)
        .where(a.ended_at > now - RECENT_S, a.error_class.is_not(None), of_campaigns(campaigns))
        .group_by(a.error_class)
        .subquery()
    )
    statement = (
        sa.select(classes.c.error_class, classes.c.attempts, a.id, a.ended_at, t.input_did, t.run, t.file_index, a.message)
        .join_from(classes, attempt_table, a.id == classes.c.newest)
        .join(task_table, t.id == a.task_id)
        .order_by(classes.c.attempts.desc(), classes.c.error_class)
    )
    return [FailureClass(*row[:-1], row.message or "no message") for row in connection.execute(statement)]


def _parked(connection: sa.Connection, campaigns: Campaigns, limit: int, *conditions: sa.ColumnElement[bool]) -> list[Failure]:
    t, a = task_table.c, attempt_table.c
    every = attempt_table.alias()
    latest = sa.select(sa.func.max(every.c.id)).where(every.c.task_id == t.id).scalar_subquery()
    statement = (
        sa.select(task_table, a.id.label("attempt"), a.number, a.ended_at)
        .select_from(task_table.outerjoin(attempt_table, a.id == latest))
        .where(t.done_at.is_(None), t.state == TaskState.PARKED, *conditions)
        .order_by(t.late, t.deadline)
        .limit(limit)
    )
    return [_failure(row, campaigns, row.error_class, row.message) for row in connection.execute(statement)]


def _attempts(connection: sa.Connection, campaigns: Campaigns, limit: int, *conditions: sa.ColumnElement[bool]) -> list[Failure]:
    t, a = task_table.c, attempt_table.c
    statement = (
        sa.select(task_table, a.id.label("attempt"), a.number, a.ended_at, a.error_class.label("how"), a.message.label("why"))
        .join_from(attempt_table, task_table, t.id == a.task_id)
        .where(a.error_class.is_not(None), a.ended_at.is_not(None), of_campaigns(campaigns), *conditions)
        .order_by(a.ended_at.desc())
        .limit(limit)
    )
    return [_failure(row, campaigns, row.how, row.why) for row in connection.execute(statement)]


def _failure(row: Any, campaigns: Campaigns, error_class: str | None, message: str | None) -> Failure:
    campaign = campaigns[row.campaign_id]
    return Failure(
        task=row.id,
        attempt=row.attempt,
        number=row.number,
        at=row.ended_at,
        input_did=row.input_did,
        run=row.run,
        file_index=row.file_index,
        campaign=campaign.name,
        version=campaign.version,
        step=row.step,
        state=row.state,
        error_class=error_class or "unknown",
        message=message or "no message",
        retry_at=row.ready_at if row.state == TaskState.WAITING_RETRY else None,
    )
