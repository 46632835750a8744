"""The queue of steps: which files each catalogue can be asked to register now.

A step enters the queue when all it needs is confirmed, and leaves it when the catalogue has confirmed it. So what waits for a catalogue
that is away costs nothing while others work, however many files there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from declare_daemon.journal.rows import batches, insert_missing
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, queue_table, step_table, waiver_table

BATCH = 500

# The row of a file whose steps still have to be worked out.
UNPLANNED = ("", "")

_STARTS_AGAIN = frozenset({FileState.FOUND, FileState.REJECTED, FileState.CONFLICT, FileState.GONE})


def follow(connection: sa.Connection, states: Mapping[int, FileState]) -> None:
    """Files went into these states: queue what was verified, forget what starts again."""
    plan(connection, [file_id for file_id, state in states.items() if state is FileState.VERIFIED])
    for batch in batches((file_id for file_id, state in states.items() if state in _STARTS_AGAIN), BATCH):
        connection.execute(sa.delete(queue_table).where(queue_table.c.file_id.in_(batch)))


def plan(connection: sa.Connection, file_ids: Iterable[int]) -> None:
    """Have the steps of these files worked out (again)."""
    catalog, step = UNPLANNED
    insert_missing(connection, queue_table, [{"catalog": catalog, "step": step, "file_id": file_id} for file_id in file_ids])


def plan_all(connection: sa.Connection) -> None:
    """Have the steps of all verified files, of waived ones and of what is queued worked out again: the site file may have changed."""
    catalog, step = (sa.literal(text).label(name) for text, name in zip(UNPLANNED, ("catalog", "step"), strict=True))
    c, q = file_table.c, queue_table.c
    known = queue_table.alias("known")
    for source in (
        sa.select(catalog, step, q.file_id).distinct(),
        sa.select(catalog, step, c.id.label("file_id")).where(c.state == FileState.VERIFIED.value),
        sa.select(catalog, step, waiver_table.c.file_id).distinct(),
    ):
        file_id = source.selected_columns.file_id
        new = source.where(~sa.exists().where(known.c.catalog == UNPLANNED[0], known.c.step == UNPLANNED[1], known.c.file_id == file_id))
        connection.execute(sa.insert(queue_table).from_select(["catalog", "step", "file_id"], new))
    connection.execute(sa.delete(queue_table).where(q.catalog != UNPLANNED[0]))


def unplanned(connection: sa.Connection, limit: int) -> list[int]:
    """Files whose steps have to be worked out."""
    c = queue_table.c
    query = sa.select(c.file_id).where(c.catalog == UNPLANNED[0], c.step == UNPLANNED[1])
    return list(connection.execute(query.order_by(c.file_id).limit(limit)).scalars())


def planned(connection: sa.Connection, file_ids: Sequence[int], ready: Sequence[tuple[str, str, int]]) -> None:
    """The steps of these files are worked out: `(catalog, step, file)` can be done now."""
    c = queue_table.c
    for batch in batches(file_ids, BATCH):
        connection.execute(sa.delete(queue_table).where(c.catalog == UNPLANNED[0], c.step == UNPLANNED[1], c.file_id.in_(batch)))
    insert_missing(connection, queue_table, [{"catalog": catalog, "step": step, "file_id": file_id} for catalog, step, file_id in ready])


def confirm(connection: sa.Connection, catalog: str, step: str, file_ids: Sequence[int], now: float) -> None:
    """The catalogue has confirmed the step of these files."""
    c = queue_table.c
    rows = [{"file_id": file_id, "catalog": catalog, "step": step, "done_at": now} for file_id in file_ids]
    insert_missing(connection, step_table, rows)
    for batch in batches(file_ids, BATCH):
        connection.execute(sa.delete(queue_table).where(c.catalog == catalog, c.step == step, c.file_id.in_(batch)))


def confirmed(connection: sa.Connection, file_ids: Iterable[int]) -> dict[int, dict[tuple[str, str], float]]:
    """What has been confirmed of these files: (catalog, step) -> when. A file without anything is absent."""
    c = step_table.c
    found: dict[int, dict[tuple[str, str], float]] = {}
    for batch in batches(file_ids, BATCH):
        for row in connection.execute(sa.select(step_table).where(c.file_id.in_(batch))):
            found.setdefault(row.file_id, {})[row.catalog, row.step] = row.done_at
    return found


def lengths(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """How many files wait for each (catalog, step)."""
    c = queue_table.c
    query = sa.select(c.catalog, c.step, sa.func.count()).where(c.catalog != UNPLANNED[0]).group_by(c.catalog, c.step)
    return {(catalog, step): number for catalog, step, number in connection.execute(query)}
