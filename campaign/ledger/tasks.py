"""Tasks: made once for each input, moved from state to state in one place, counted as they move.

Transitions of a task that goes well leave no event: their times are in its row. All others do, with who and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign.ledger.tables import count_table, task_table
from campaign.retries import Needs
from campaign.states import BACKLOG, QUIET, TRANSITIONS, TaskState
from dune_prompt.store import Event, record_events

ROOM = "campaign"
ENGINE = "engine"
CHUNK = 500  # values in one IN (…): SQLite and PostgreSQL both take it


@dataclass(frozen=True, slots=True)
class Task:
    """A row of the ledger's task table. Times in seconds since the Unix epoch.

    `input_id` is the first task of the same input in the same campaign, `needs` what the next attempt gets other than the campaign says.
    """

    id: int
    input_id: int
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
    needs: dict[str, Any] | None

    @property
    def next_needs(self) -> Needs:
        """What the next attempt gets other than the campaign file says."""
        needs = self.needs or {}
        return Needs(needs.get("memory_bytes", 0), needs.get("lifetime_s", 0.0), tuple(needs.get("avoid_hosts", ())))


_INSERT = sa.insert(task_table)
# What is not done; the words are those of the index over it.
OPEN = task_table.c.done_at.is_(None)
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
    # One process writes the ledger, in one transaction at a time: ids can be given out here, so that all tasks of an input know its first.
    last_id = connection.execute(sa.select(sa.func.coalesce(sa.func.max(task_table.c.id), 0))).scalar_one()
    first: dict[tuple[int, str], int] = {}
    rows = []
    for task_id, task in enumerate(new, last_id + 1):
        row = {item.name: getattr(task, item.name) for item in fields(NewTask)}
        input_id = first.setdefault((task.campaign_id, task.input_did), task_id)
        done_at = now if task.state is TaskState.DONE else None
        rows.append(
            row | {"id": task_id, "input_id": input_id, "state": task.state.value, "ready_at": now, "created_at": now, "done_at": done_at}
        )
    connection.execute(_INSERT, rows)
    _count(connection, Counter((task.campaign_id, task.run, task.step, task.state, False) for task in new))
    return len(new)


def apply(connection: sa.Connection, moves: Sequence[Move], now: float, *, by: str = ENGINE) -> None:
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
        if task.state is TaskState.DONE:
            values["done_at"] = None
        row = {"of_id": task.id, "of_state": task.state.value} | values
        by_columns.setdefault(tuple(values), []).append(row)
        counts[task.campaign_id, task.run, task.step, task.state, task.late] -= 1
        counts[task.campaign_id, task.run, task.step, move.to, bool(move.values.get("late", task.late))] += 1
    for columns, rows in by_columns.items():
        result = connection.execute(_setting(columns), rows)
        if result.rowcount != len(rows):
            raise ValueError(f"{len(rows) - result.rowcount} of {len(rows)} tasks changed their state meanwhile")
    _count(connection, counts)
    record_events(
        connection,
        [
            Event(now, ROOM, f"task:{move.task.id}", move.task.state.value, move.to.value, by, move.message)
            for move in moves
            if (move.task.state, move.to) not in QUIET or by != ENGINE
        ],
    )


@cache
def _setting(columns: tuple[str, ...]) -> sa.Update:
    """The update of these columns; made once, as making it costs more than carrying it out."""
    same = (task_table.c.id == sa.bindparam("of_id"), task_table.c.state == sa.bindparam("of_state"))
    return sa.update(task_table).where(*same).values({column: sa.bindparam(column) for column in columns})


def _count(connection: sa.Connection, changes: Counter[tuple[int, int, str, TaskState, bool]]) -> None:
    rows = [
        {"campaign_id": campaign_id, "run": run, "step": step, "state": state.value, "late": late, "tasks": change}
        for (campaign_id, run, step, state, late), change in changes.items()
        if change
    ]
    if rows:
        connection.execute(_ADD[connection.dialect.name], rows)


def _adding(insert: Any) -> Any:
    return insert.on_conflict_do_update(
        index_elements=list(count_table.primary_key.columns), set_={"tasks": count_table.c.tasks + insert.excluded.tasks}
    )


_ADD = {"sqlite": _adding(sqlite.insert(count_table)), "postgresql": _adding(postgresql.insert(count_table))}


def now_late(connection: sa.Connection, before: float) -> list[Task]:
    """Waiting tasks whose deadline is before that time (`campaign.deadlines.late_before`) and that are not marked so yet."""
    return [_task(row) for row in connection.execute(_NOW_LATE, {"before": before})]


_NOW_LATE = sa.select(*_COLUMNS).where(
    OPEN,
    task_table.c.state.in_([TaskState.BLOCKED.value, *(state.value for state in BACKLOG)]),
    task_table.c.late.is_(False),
    task_table.c.deadline < sa.bindparam("before"),
)


def mark_late(connection: sa.Connection, tasks: Sequence[Task]) -> None:
    """Mark tasks as late: they go after those that can still be prompt."""
    for ids in chunks([task.id for task in tasks]):
        connection.execute(sa.update(task_table).where(task_table.c.id.in_(ids)).values(late=True))
    changes: Counter[tuple[int, int, str, TaskState, bool]] = Counter()
    for task in tasks:
        changes[task.campaign_id, task.run, task.step, task.state, False] -= 1
        changes[task.campaign_id, task.run, task.step, task.state, True] += 1
    _count(connection, changes)


_BY_IDS = sa.select(*_COLUMNS).where(task_table.c.id.in_(sa.bindparam("ids", expanding=True))).order_by(task_table.c.id)


def select(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Task]:
    """The tasks that meet the conditions, in the order of their ids."""
    statement = sa.select(*_COLUMNS).where(*conditions).order_by(task_table.c.id).limit(limit)
    return [_task(row) for row in connection.execute(statement)]


def by_ids(connection: sa.Connection, ids: Collection[int]) -> dict[int, Task]:
    found: dict[int, Task] = {}
    for part in chunks(sorted(ids)):
        found |= {row.id: _task(row) for row in connection.execute(_BY_IDS, {"ids": part})}
    return found


def queue(connection: sa.Connection, campaign_ids: Collection[int], now: float, limit: int, *, step: str | None = None) -> list[Task]:
    """The next `limit` tasks to start, in the order of `campaign.deadlines.queue_key`."""
    statement = (
        sa.select(*_COLUMNS)
        .where(OPEN, task_table.c.state == TaskState.READY, task_table.c.ready_at <= now, task_table.c.campaign_id.in_(campaign_ids))
        .order_by(task_table.c.late, task_table.c.deadline, task_table.c.id)
        .limit(limit)
    )
    if step is not None:
        statement = statement.where(task_table.c.step == step)
    return [_task(row) for row in connection.execute(statement)]


def due_retries(connection: sa.Connection, now: float) -> list[Task]:
    """Tasks whose delay after a failure is over."""
    return select(connection, OPEN, task_table.c.state == TaskState.WAITING_RETRY, task_table.c.ready_at <= now)


def unblocked(connection: sa.Connection, after: Mapping[str, str], done: Collection[Task] | None = None) -> list[Task]:
    """Blocked tasks whose step before is done: all of them, or those that follow the tasks `done`. `after` gives the step before each."""
    if done is None:
        before = task_table.alias("before")
        pairs = sa.or_(*(sa.and_(task_table.c.step == step, before.c.step == earlier) for step, earlier in after.items()))
        statement = (
            sa.select(*_COLUMNS)
            .join(before, sa.and_(before.c.campaign_id == task_table.c.campaign_id, before.c.input_did == task_table.c.input_did, pairs))
            .where(OPEN, task_table.c.state == TaskState.BLOCKED, before.c.state == TaskState.DONE)
        )
        return [_task(row) for row in connection.execute(statement)]
    following = {earlier: step for step, earlier in after.items()}
    keys = {(task.campaign_id, task.input_did, following[task.step]) for task in done if task.step in following}
    found: list[Task] = []
    for campaign_id in sorted({key[0] for key in keys}):
        for dids in chunks(sorted({key[1] for key in keys if key[0] == campaign_id})):
            same = (task_table.c.campaign_id == campaign_id, task_table.c.input_did.in_(dids), task_table.c.state == TaskState.BLOCKED)
            found += [task for task in select(connection, *same) if (campaign_id, task.input_did, task.step) in keys]
    return found


def postpone(connection: sa.Connection, tasks: Sequence[tuple[Task, float, str]]) -> None:
    """Ready tasks whose input is not within reach now step aside: (task, until when, why). They stay ready, so this is no event."""
    if tasks:
        aside = sa.update(task_table).where(task_table.c.id == sa.bindparam("of_id"), task_table.c.state == TaskState.READY)
        rows = [{"of_id": task.id, "at": until, "said": why} for task, until, why in tasks]
        connection.execute(aside.values(ready_at=sa.bindparam("at"), message=sa.bindparam("said")), rows)


def waiting_deadlines(
    connection: sa.Connection, campaign_ids: Collection[int], now: float, buckets: int = 50
) -> tuple[tuple[float, int], ...]:
    """The ready tasks that can still be prompt, as (deadline, how many up to it since the one before), earliest first.

    At most `buckets` of them, each with the earliest deadline in it: what the decision about slots needs, however many tasks wait.
    """
    c = task_table.c
    waiting = (OPEN, c.state == TaskState.READY, c.late.is_(False), c.campaign_id.in_(campaign_ids))
    first, last = connection.execute(sa.select(sa.func.min(c.deadline), sa.func.max(c.deadline)).where(*waiting)).one()
    if first is None:
        return ()
    width = max((last - first) / buckets, 1.0)
    bucket = sa.cast((c.deadline - first) / width, sa.Integer)
    statement = sa.select(sa.func.min(c.deadline), sa.func.count()).where(*waiting).group_by(bucket).order_by(bucket)
    return tuple((float(deadline), int(tasks)) for deadline, tasks in connection.execute(statement))


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks by campaign and state."""

    tasks: Mapping[tuple[int, TaskState], int]

    def of(self, *states: TaskState, campaigns: Collection[int] | None = None) -> int:
        """How many tasks are in one of the states, of all campaigns or of some."""
        return sum(n for (of, state), n in self.tasks.items() if state in states and (campaigns is None or of in campaigns))


def in_state_counts(connection: sa.Connection, campaign_ids: Collection[int]) -> Counts:
    """Tasks of these campaigns, from the summary."""
    rows = connection.execute(_COUNTS)
    return Counts({(of, TaskState(state)): int(tasks) for of, state, tasks in rows if of in campaign_ids})


_COUNTS = sa.select(count_table.c.campaign_id, count_table.c.state, sa.func.sum(count_table.c.tasks)).group_by(
    count_table.c.campaign_id, count_table.c.state
)


def recount(connection: sa.Connection) -> Counter[tuple[int, int, str, TaskState, bool]]:
    """The summary as it should be, counted from the tasks: what `reconcile` and the tests compare with."""
    key = (task_table.c.campaign_id, task_table.c.run, task_table.c.step, task_table.c.state, task_table.c.late)
    statement = sa.select(*key, sa.func.count()).group_by(*key)
    return Counter({(row[0], row[1], row[2], TaskState(row[3]), bool(row[4])): row[5] for row in connection.execute(statement)})


def chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """`items` in parts that fit into one IN (…)."""
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))
