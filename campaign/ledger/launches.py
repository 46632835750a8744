"""Launches that came from POMS: which slice each was given, under which of its numbers, and whether POMS was told how it went."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, launch_table, task_table
from campaign.states import OPEN, TaskState


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch that was given work. Times in seconds since the Unix epoch; `handle` is jobsub's id of its first job."""

    request_id: str
    slice_id: str
    campaign_id: int
    step: str
    task_id: int
    stage_id: int | None
    poms_campaign_id: int | None
    host: str | None
    asked_at: float
    handle: str | None = None
    submitted_at: float | None = None
    replaced_at: float | None = None
    told_at: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the tasks of a launch are. Over when none is open."""

    launch: Launch
    tasks: int
    open: int
    done: int

    @property
    def over(self) -> bool:
        return self.open == 0


_COLUMNS = tuple(launch_table.c[name] for name in Launch.__slots__)
# A task has several attempts in a slice only when a person asked for one of them again.
_tasks_of_slice = sa.select(attempt_table.c.slice_id, attempt_table.c.task_id).where(attempt_table.c.slice_id.is_not(None)).distinct()


def _launch(row: Any) -> Launch:
    return Launch(**row._mapping)


def add(connection: sa.Connection, launch: Launch) -> None:
    connection.execute(sa.insert(launch_table).values(**{name: getattr(launch, name) for name in Launch.__slots__}))


def by_request(connection: sa.Connection, request_id: str) -> Launch | None:
    """The launch of a request that was answered before."""
    row = connection.execute(sa.select(*_COLUMNS).where(launch_table.c.request_id == request_id)).one_or_none()
    return None if row is None else _launch(row)


def half_done(connection: sa.Connection, campaign_id: int, step: str, before: float) -> Launch | None:
    """The oldest launch that was given work before this time and has named no job, while its jobs are still open."""
    in_flight = sa.exists().where(attempt_table.c.slice_id == launch_table.c.slice_id, attempt_table.c.ended_at.is_(None))
    statement = (
        sa.select(*_COLUMNS)
        .where(launch_table.c.campaign_id == campaign_id, launch_table.c.step == step, launch_table.c.handle.is_(None))
        .where(launch_table.c.replaced_at.is_(None), launch_table.c.asked_at < before, in_flight)
        .order_by(launch_table.c.asked_at)
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _launch(row)


def replaced(connection: sa.Connection, request_id: str, now: float) -> None:
    """Another launch completes what this one began."""
    connection.execute(sa.update(launch_table).where(launch_table.c.request_id == request_id).values(replaced_at=now))


def submitted(connection: sa.Connection, request_id: str, handle: str, now: float) -> None:
    """The batch system has its jobs."""
    connection.execute(sa.update(launch_table).where(launch_table.c.request_id == request_id).values(handle=handle, submitted_at=now))


def told(connection: sa.Connection, request_ids: Collection[str], now: float) -> int:
    """POMS knows how these ended; how many of them it did not know before."""
    unknown = launch_table.c.request_id.in_(request_ids) & launch_table.c.told_at.is_(None)
    return connection.execute(sa.update(launch_table).where(unknown).values(told_at=now)).rowcount


def progress(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int = 1000) -> list[Progress]:
    """How far launches are, newest first."""
    chosen = sa.select(*_COLUMNS).where(*conditions).order_by(launch_table.c.asked_at.desc()).limit(limit)
    launches = [_launch(row) for row in connection.execute(chosen)]
    tasks = _tasks_of_slice.where(attempt_table.c.slice_id.in_([item.slice_id for item in launches])).subquery()
    counts = (
        sa.select(tasks.c.slice_id, task_table.c.state, sa.func.count())
        .join(task_table, task_table.c.id == tasks.c.task_id)
        .group_by(tasks.c.slice_id, task_table.c.state)
    )
    found: dict[str, dict[TaskState, int]] = {}
    for slice_id, state, number in connection.execute(counts):
        found.setdefault(slice_id, {})[TaskState(state)] = int(number)
    return [_progress(item, found.get(item.slice_id, {})) for item in launches]


def _progress(launch: Launch, states: dict[TaskState, int]) -> Progress:
    return Progress(launch, sum(states.values()), sum(states.get(state, 0) for state in OPEN), states.get(TaskState.DONE, 0))


def untold(connection: sa.Connection) -> Sequence[Progress]:
    """Launches that are over and that POMS has not been told about."""
    waiting = (launch_table.c.told_at.is_(None), launch_table.c.replaced_at.is_(None))
    return [item for item in progress(connection, *waiting) if item.over]


def of_request(connection: sa.Connection, request_id: str) -> Progress | None:
    """How far one launch is."""
    found = progress(connection, launch_table.c.request_id == request_id)
    return found[0] if found else None
