"""Attempts: one try at a task each, what their stages committed, and the slices they were handed out in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, commit_table, output_table, slice_table
from campaign.ledger.tasks import ROOM, Task, chunks
from campaign.states import AttemptState
from dune_prompt.records import Output
from dune_prompt.store import Event, record_events


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the attempt table, without its report."""

    id: str
    task_id: int
    slice_id: str
    number: int
    state: AttemptState
    stages: list[str]
    launcher: str
    handle: str | None
    job_dir: str
    output_dir: str
    token_hash: str
    lease_until: float
    created_at: float
    submitted_at: float | None
    started_at: float | None
    heartbeat_at: float | None
    ended_at: float | None
    host: str | None
    error_class: str | None
    message: str | None


_COLUMNS = [attempt_table.c[item.name] for item in fields(Attempt)]


def _attempt(row: Any) -> Attempt:
    values: dict[str, Any] = dict(row._mapping)
    values["state"] = AttemptState(values["state"])
    return Attempt(**values)


def create_slice(
    connection: sa.Connection, slice_id: str, request_id: str | None, campaign_id: int, step: str, launcher: str, now: float
) -> None:
    connection.execute(
        sa.insert(slice_table).values(
            id=slice_id, request_id=request_id, campaign_id=campaign_id, step=step, launcher=launcher, created_at=now
        )
    )


def slice_of_request(connection: sa.Connection, request_id: str) -> str | None:
    """The slice that was given to this request before."""
    return connection.execute(sa.select(slice_table.c.id).where(slice_table.c.request_id == request_id)).scalar_one_or_none()


def create(connection: sa.Connection, rows: Sequence[Mapping[str, Any]], now: float) -> None:
    """Write new attempts. The database refuses a second one in flight for the same task."""
    if rows:
        connection.execute(sa.insert(attempt_table), [dict(row) for row in rows])
        record_events(connection, [Event(now, ROOM, f"attempt:{row['id']}", None, row["state"], "engine") for row in rows])


def in_flight(connection: sa.Connection) -> list[Attempt]:
    """All attempts without an end."""
    return [_attempt(row) for row in connection.execute(sa.select(*_COLUMNS).where(attempt_table.c.ended_at.is_(None)))]


def by_id(connection: sa.Connection, attempt_id: str) -> Attempt | None:
    row = connection.execute(sa.select(*_COLUMNS).where(attempt_table.c.id == attempt_id)).one_or_none()
    return None if row is None else _attempt(row)


def of_slice(connection: sa.Connection, slice_id: str) -> list[Attempt]:
    return [
        _attempt(row)
        for row in connection.execute(sa.select(*_COLUMNS).where(attempt_table.c.slice_id == slice_id).order_by(attempt_table.c.id))
    ]


def of_tasks(connection: sa.Connection, task_ids: Collection[int]) -> list[Attempt]:
    """All attempts of the tasks, oldest first."""
    found: list[Attempt] = []
    for part in chunks(sorted(task_ids)):
        statement = sa.select(*_COLUMNS).where(attempt_table.c.task_id.in_(part)).order_by(attempt_table.c.id)
        found += [_attempt(row) for row in connection.execute(statement)]
    return found


def update(connection: sa.Connection, attempt: Attempt, now: float, *, state: AttemptState | None = None, **values: Any) -> None:
    """Set columns of an attempt; a change of its state leaves an event."""
    if state is not None and state is not attempt.state:
        values["state"] = state.value
        record_events(
            connection,
            [Event(now, ROOM, f"attempt:{attempt.id}", attempt.state.value, state.value, "engine", values.get("message"))],
        )
    if values:
        connection.execute(sa.update(attempt_table).where(attempt_table.c.id == attempt.id).values(**values))


def committed(connection: sa.Connection, keys: Collection[tuple[int, str]]) -> dict[tuple[int, str], dict[str, str]]:
    """For each (campaign id, input DID): which attempt counts for which stage."""
    found: dict[tuple[int, str], dict[str, str]] = {key: {} for key in keys}
    for dids in chunks(sorted({did for _, did in keys})):
        for row in connection.execute(sa.select(commit_table).where(commit_table.c.input_did.in_(dids))):
            if (row.campaign_id, row.input_did) in found:
                found[row.campaign_id, row.input_did][row.stage] = row.attempt_id
    return found


def commit(
    connection: sa.Connection,
    task: Task,
    attempt: Attempt,
    stages: Sequence[str],
    outputs: Mapping[str, Sequence[tuple[Output, str | None]]],
    now: float,
) -> None:
    """Let `attempt` count for `stages` of the task's input. `outputs` are those of each stage, with the DID of the declared ones.

    The primary key of the table refuses a second attempt for the same stage.
    """
    if stages:
        connection.execute(
            sa.insert(commit_table),
            [
                {"campaign_id": task.campaign_id, "input_did": task.input_did, "stage": stage, "attempt_id": attempt.id, "at": now}
                for stage in stages
            ],
        )
    rows = [
        {
            "attempt_id": attempt.id,
            "name": output.name,
            "stage": stage,
            "size_bytes": output.size_bytes,
            "adler32": output.adler32,
            "did": did,
        }
        for stage in stages
        for output, did in outputs.get(stage, ())
    ]
    if rows:
        connection.execute(sa.insert(output_table), rows)


def outputs_of(connection: sa.Connection, attempt_ids: Collection[str]) -> list[Any]:
    """Rows (attempt_id, name, stage, size_bytes, adler32, did) of the committed outputs of these attempts."""
    found: list[Any] = []
    for part in chunks(sorted(attempt_ids)):
        found += connection.execute(sa.select(output_table).where(output_table.c.attempt_id.in_(part)).order_by(output_table.c.name)).all()
    return found


def uncommit(connection: sa.Connection, task: Task, stages: Collection[str]) -> None:
    """Forget what counted for these stages, because their outputs are gone: they will be made again."""
    of_input = (commit_table.c.campaign_id == task.campaign_id) & (commit_table.c.input_did == task.input_did)
    connection.execute(sa.delete(commit_table).where(of_input, commit_table.c.stage.in_(sorted(stages))))
