"""Tasks: made once for each input, moved from state to state in one place, counted as they move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import count_table, task_table
from campaign.states import BACKLOG, TRANSITIONS, TaskState
from dune_prompt.store import Event, record_events

ROOM = "campaign"
CHUNK = 500  # values in one IN (…): SQLite and PostgreSQL both take it


@dataclass(frozen=True, slots=True)
class Task:
    """A row of the ledger's task table. Times in seconds since the Unix epoch."""

    id: int
    campaign_id: int
    input_did: str
    step: str
    state: TaskState
    late: bool
    run: int
    file_index: int | None
    size_bytes: int
    deadline: float
    failures: int
    attempts: int
    allowed_failures: int
    ready_at: float
    error_class: str | None
    message: str | None
    closed_at: float | None
    declared_at: float | None
    created_at: float
    submitted_at: float | None
    started_at: float | None
    reported_at: float | None
    done_at: float | None


_COLUMNS = [task_table.c[item.name] for item in fields(Task)]


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a task is made of. `state` is ready or blocked, or done when the catalogue has its child already."""

    campaign_id: int
    input_did: str
    step: str
    state: TaskState
    run: int
    file_index: int | None
    size_bytes: int
    deadline: float
    allowed_failures: int
    closed_at: float | None
    declared_at: float | None


@dataclass(frozen=True, slots=True)
class Move:
    """Bring `task` to state `to`, setting `values` of its other columns."""

    task: Task
    to: TaskState
    message: str | None = None
    values: dict[str, Any] = field(default_factory=dict)


def _task(row: Any) -> Task:
    values: dict[str, Any] = dict(row._mapping)
    values["state"] = TaskState(values["state"])
    return Task(**values)


def create(connection: sa.Connection, tasks: Sequence[NewTask], now: float) -> int:
    """Make the tasks that the ledger does not have yet; how many were new."""
    known: set[tuple[int, str, str]] = set()
    key = (task_table.c.campaign_id, task_table.c.input_did, task_table.c.step)
    for dids in chunks(sorted({task.input_did for task in tasks})):
        same = task_table.c.campaign_id.in_({task.campaign_id for task in tasks}), task_table.c.input_did.in_(dids)
        known |= {tuple(row) for row in connection.execute(sa.select(*key).where(*same))}
    new = [task for task in tasks if (task.campaign_id, task.input_did, task.step) not in known]
    if not new:
        return 0
    connection.execute(
        sa.insert(task_table),
        [
            {item.name: getattr(task, item.name) for item in fields(NewTask)}
            | {"state": task.state.value, "ready_at": now, "created_at": now, "done_at": now if task.state is TaskState.DONE else None}
            for task in new
        ],
    )
    _count(connection, Counter((task.campaign_id, task.run, task.step, task.state, False) for task in new))
    return len(new)


def apply(connection: sa.Connection, moves: Sequence[Move], now: float, *, by: str = "engine") -> None:
    """Carry out `moves`: state, event and count in one transaction.

    Raises:
        ValueError: a move the transition table does not have, or a task that is no longer in the state it was read in.
    """
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    counts: Counter[tuple[int, int, str, TaskState, bool]] = Counter()
    for move in moves:
        task = move.task
        if move.to not in TRANSITIONS[task.state]:
            raise ValueError(f"task {task.id}: {task.state} -> {move.to} is no transition")
        values = {"state": move.to.value, "message": move.message, **move.values}
        row = {"of_id": task.id, "of_state": task.state.value} | values
        by_columns.setdefault(tuple(values), []).append(row)
        counts[task.campaign_id, task.run, task.step, task.state, task.late] -= 1
        counts[task.campaign_id, task.run, task.step, move.to, bool(move.values.get("late", task.late))] += 1
    for columns, rows in by_columns.items():
        statement = (
            sa.update(task_table)
            .where(task_table.c.id == sa.bindparam("of_id"), task_table.c.state == sa.bindparam("of_state"))
            .values({column: sa.bindparam(column) for column in columns})
        )
        result = connection.execute(statement, rows)
        if result.rowcount != len(rows):
            raise ValueError(f"{len(rows) - result.rowcount} of {len(rows)} tasks changed their state meanwhile")
    _count(connection, counts)
    record_events(
        connection,
        [Event(now, ROOM, f"task:{move.task.id}", move.task.state.value, move.to.value, by, move.message) for move in moves],
    )


def _count(connection: sa.Connection, changes: Counter[tuple[int, int, str, TaskState, bool]]) -> None:
    for (campaign_id, run, step, state, late), change in changes.items():
        if change == 0:
            continue
        key = {"campaign_id": campaign_id, "run": run, "step": step, "state": state.value, "late": late}
        update = sa.update(count_table).where(*(count_table.c[name] == value for name, value in key.items()))
        if connection.execute(update.values(tasks=count_table.c.tasks + change)).rowcount == 0:
            connection.execute(sa.insert(count_table).values(**key, tasks=change))


def now_late(connection: sa.Connection, now: float) -> list[Task]:
    """Waiting tasks whose deadline has passed and that are not marked so yet."""
    waiting = [TaskState.BLOCKED, *BACKLOG]
    return select(connection, task_table.c.state.in_(waiting), task_table.c.late.is_(False), task_table.c.deadline < now)


def mark_late(connection: sa.Connection, tasks: Sequence[Task]) -> None:
    """Mark tasks as late: they go after those that can still be prompt."""
    for ids in chunks([task.id for task in tasks]):
        connection.execute(sa.update(task_table).where(task_table.c.id.in_(ids)).values(late=True))
    changes: Counter[tuple[int, int, str, TaskState, bool]] = Counter()
    for task in tasks:
        changes[task.campaign_id, task.run, task.step, task.state, False] -= 1
        changes[task.campaign_id, task.run, task.step, task.state, True] += 1
    _count(connection, changes)


def select(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Task]:
    """The tasks that meet the conditions, in the order of their ids."""
    statement = sa.select(*_COLUMNS).where(*conditions).order_by(task_table.c.id).limit(limit)
    return [_task(row) for row in connection.execute(statement)]


def by_ids(connection: sa.Connection, ids: Collection[int]) -> dict[int, Task]:
    found: dict[int, Task] = {}
    for part in chunks(sorted(ids)):
        found |= {task.id: task for task in select(connection, task_table.c.id.in_(part))}
    return found


def queue(connection: sa.Connection, campaign_ids: Collection[int], now: float, limit: int, *, step: str | None = None) -> list[Task]:
    """The next `limit` tasks to start: the earliest deadline first, late ones after all that can still be prompt."""
    statement = (
        sa.select(*_COLUMNS)
        .where(task_table.c.state == TaskState.READY, task_table.c.ready_at <= now, task_table.c.campaign_id.in_(campaign_ids))
        .order_by(task_table.c.late, task_table.c.deadline, task_table.c.id)
        .limit(limit)
    )
    if step is not None:
        statement = statement.where(task_table.c.step == step)
    return [_task(row) for row in connection.execute(statement)]


def due_retries(connection: sa.Connection, now: float) -> list[Task]:
    """Tasks whose delay after a failure is over."""
    return select(connection, task_table.c.state == TaskState.WAITING_RETRY, task_table.c.ready_at <= now)


def unblocked(connection: sa.Connection, after: dict[str, str]) -> list[Task]:
    """Blocked tasks whose step before is done; `after` gives the step before each step."""
    before = task_table.alias("before")
    pairs = sa.or_(*(sa.and_(task_table.c.step == step, before.c.step == earlier) for step, earlier in after.items()))
    statement = (
        sa.select(*_COLUMNS)
        .join(before, sa.and_(before.c.campaign_id == task_table.c.campaign_id, before.c.input_did == task_table.c.input_did, pairs))
        .where(task_table.c.state == TaskState.BLOCKED, before.c.state == TaskState.DONE)
    )
    return [_task(row) for row in connection.execute(statement)]


def in_state_counts(connection: sa.Connection, campaign_ids: Collection[int]) -> Counter[TaskState]:
    """Tasks of these campaigns by state, from the summary."""
    statement = (
        sa.select(count_table.c.state, sa.func.sum(count_table.c.tasks))
        .where(count_table.c.campaign_id.in_(campaign_ids))
        .group_by(count_table.c.state)
    )
    return Counter({TaskState(state): int(tasks) for state, tasks in connection.execute(statement)})


def recount(connection: sa.Connection) -> Counter[tuple[int, int, str, TaskState, bool]]:
    """The summary as it should be, counted from the tasks: what `reconcile` and the tests compare with."""
    key = (task_table.c.campaign_id, task_table.c.run, task_table.c.step, task_table.c.state, task_table.c.late)
    statement = sa.select(*key, sa.func.count()).group_by(*key)
    return Counter({(row[0], row[1], row[2], TaskState(row[3]), bool(row[4])): row[5] for row in connection.execute(statement)})


def chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """`items` in parts that fit into one IN (…)."""
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))
