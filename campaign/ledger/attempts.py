"""Attempts: one try at a task each, what their stages committed, and the slices they were handed out in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, commit_table, slice_table, task_table
from campaign.ledger.tasks import ENGINE, ROOM, Task, chunks
from campaign.states import AttemptState
from dune_prompt.records import Output
from dune_prompt.store import Event, record_events

# How an attempt may end without an event: its row says all.
_QUIET = frozenset({AttemptState.SUBMITTED, AttemptState.RUNNING, AttemptState.SUCCEEDED})


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the attempt table."""

    id: str
    task_id: int
    slice_id: str | None
    number: int
    state: AttemptState
    stages: tuple[str, ...]
    launcher: str
    handle: str | None
    token_hash: str | None
    lease_until: float
    created_at: float
    submitted_at: float | None
    started_at: float | None
    heartbeat_at: float | None
    ended_at: float | None
    host: str | None
    error_class: str | None
    message: str | None
    memory_bytes: int | None
    lifetime_s: float | None
    cpu_s: float | None
    rss_bytes: int | None


@dataclass(frozen=True, slots=True)
class Committed:
    """The attempt that counts for a stage, and the files it made in it."""

    attempt_id: str
    outputs: tuple[Output, ...]


_COLUMNS = [attempt_table.c[item.name] for item in fields(Attempt)]
_INSERT, _INSERT_COMMITS = sa.insert(attempt_table), sa.insert(commit_table)
_IN_FLIGHT = sa.select(*_COLUMNS).where(attempt_table.c.ended_at.is_(None))
_OF_TASKS = sa.select(*_COLUMNS).where(attempt_table.c.task_id.in_(sa.bindparam("tasks", expanding=True))).order_by(attempt_table.c.id)
_COMMITTED = (
    sa.select(commit_table, task_table.c.input_did)
    .join(task_table, task_table.c.id == commit_table.c.input_id)
    .where(commit_table.c.input_id.in_(sa.bindparam("inputs", expanding=True)))
)


def _attempt(row: Any) -> Attempt:
    values: dict[str, Any] = dict(row._mapping)
    values["state"] = AttemptState(values["state"])
    values["stages"] = tuple(values["stages"].split(","))
    return Attempt(**values)


def create_slice(connection: sa.Connection, slice_id: str, campaign_id: int, step: str, launcher: str, now: float) -> None:
    connection.execute(sa.insert(slice_table).values(id=slice_id, campaign_id=campaign_id, step=step, launcher=launcher, created_at=now))


def create(connection: sa.Connection, attempts: Sequence[Attempt]) -> None:
    """Write new attempts. The database refuses a second one in flight for the same task."""
    if attempts:
        rows = [{item.name: getattr(attempt, item.name) for item in fields(Attempt)} for attempt in attempts]
        for row in rows:
            row["state"], row["stages"] = row["state"].value, ",".join(row["stages"])
        connection.execute(_INSERT, rows)


def in_flight(connection: sa.Connection) -> list[Attempt]:
    """All attempts without an end."""
    return [_attempt(row) for row in connection.execute(_IN_FLIGHT)]


def by_id(connection: sa.Connection, attempt_id: str) -> Attempt | None:
    return by_ids(connection, [attempt_id]).get(attempt_id)


def by_ids(connection: sa.Connection, attempt_ids: Collection[str]) -> dict[str, Attempt]:
    found: dict[str, Attempt] = {}
    for part in chunks(sorted(attempt_ids)):
        for row in connection.execute(sa.select(*_COLUMNS).where(attempt_table.c.id.in_(part))):
            found[row.id] = _attempt(row)
    return found


def of_slice(connection: sa.Connection, slice_id: str) -> list[Attempt]:
    statement = sa.select(*_COLUMNS).where(attempt_table.c.slice_id == slice_id).order_by(attempt_table.c.id)
    return [_attempt(row) for row in connection.execute(statement)]


def of_tasks(connection: sa.Connection, task_ids: Collection[int]) -> list[Attempt]:
    """All attempts of the tasks, oldest first."""
    found: list[Attempt] = []
    for part in chunks(sorted(task_ids)):
        found += [_attempt(row) for row in connection.execute(_OF_TASKS, {"tasks": part})]
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """New values of an attempt's columns, `state` among them when it changes."""

    attempt: Attempt
    values: Mapping[str, Any]


def update(connection: sa.Connection, changes: Iterable[Change], now: float) -> None:
    """Set columns of attempts; one that fails or is lost leaves an event."""
    by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    events: list[Event] = []
    for change in changes:
        attempt, values = change.attempt, dict(change.values)
        if (state := values.get("state")) is not None:
            values["state"] = state.value
            if state is not attempt.state and state not in _QUIET:
                subject = f"attempt:{attempt.id}"
                events.append(Event(now, ROOM, subject, attempt.state.value, state.value, ENGINE, values.get("message")))
        by_columns.setdefault(tuple(sorted(values)), []).append({"of_id": attempt.id} | values)
    for columns, rows in by_columns.items():
        connection.execute(_setting(columns), rows)
    record_events(connection, events)


@cache
def _setting(columns: tuple[str, ...]) -> sa.Update:
    """The update of these columns; made once, as making it costs more than carrying it out."""
    update = sa.update(attempt_table).where(attempt_table.c.id == sa.bindparam("of_id"))
    return update.values({column: sa.bindparam(column) for column in columns})


def committed(connection: sa.Connection, input_ids: Collection[int]) -> dict[int, dict[str, Committed]]:
    """For each input (the id of its first task): what counts for which stage."""
    found: dict[int, dict[str, Committed]] = {input_id: {} for input_id in input_ids}
    for part in chunks(sorted(found)):
        for row in connection.execute(_COMMITTED, {"inputs": part}):
            outputs = tuple(Output(_long(name, row.input_did), *rest) for name, *rest in row.outputs or ())
            found[row.input_id][row.stage] = Committed(row.attempt_id, outputs)
    return found


def _stem(input_did: str) -> str:
    return PurePath(input_did.rpartition(":")[2]).stem


def _short(name: str, input_did: str) -> str:
    """How an output's name is kept: nearly all begin with that of their input, most of a row otherwise. No name begins with `~`."""
    stem = _stem(input_did)
    return f"~{name.removeprefix(stem)}" if stem and name.startswith(stem) else name


def _long(name: str, input_did: str) -> str:
    return _stem(input_did) + name[1:] if name.startswith("~") else name


def commit(connection: sa.Connection, commits: Iterable[tuple[Task, str, Mapping[str, Sequence[Output]]]]) -> None:
    """Let attempts count for stages of their tasks' inputs: (task, attempt, the files of each stage).

    The primary key of the table refuses a second attempt for the same stage.
    """
    rows = [
        {
            "input_id": task.input_id,
            "stage": stage,
            "attempt_id": attempt_id,
            "outputs": [[_short(item.name, task.input_did), item.size_bytes, item.adler32, item.declared] for item in files] or None,
        }
        for task, attempt_id, outputs in commits
        for stage, files in outputs.items()
    ]
    if rows:
        connection.execute(_INSERT_COMMITS, rows)


def uncommit(connection: sa.Connection, input_id: int, stages: Collection[str]) -> None:
    """Forget what counted for these stages, because their outputs are gone: they will be made again."""
    connection.execute(sa.delete(commit_table).where(commit_table.c.input_id == input_id, commit_table.c.stage.in_(sorted(stages))))


def settled(connection: sa.Connection, input_ids: Collection[int]) -> None:
    """These inputs are done: of their files only the declared ones, which the catalogues know, are remembered."""
    for part in chunks(sorted(input_ids)):
        rows = connection.execute(
            sa.select(commit_table.c.input_id, commit_table.c.stage, commit_table.c.outputs).where(
                commit_table.c.input_id.in_(part), commit_table.c.outputs.is_not(None)
            )
        ).all()
        changes = [
            {"of_input": row.input_id, "of_stage": row.stage, "outputs": [item for item in row.outputs if item[3]] or None}
            for row in rows
            if not all(item[3] for item in row.outputs)
        ]
        if changes:
            of_stage = (commit_table.c.input_id == sa.bindparam("of_input"), commit_table.c.stage == sa.bindparam("of_stage"))
            connection.execute(sa.update(commit_table).where(*of_stage).values(outputs=sa.bindparam("outputs")), changes)
