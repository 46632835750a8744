"""Catalogues that an operator has paused: they are not called, their steps queue, and what they have not confirmed does not leave."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.journal import queue
from declare_daemon.journal.files import ROOM, JournalFile
from declare_daemon.journal.rows import insert_missing
from declare_daemon.journal.tables import pause_table, waiver_table
from dune_prompt.store import Event, record_events


@dataclass(frozen=True, slots=True)
class Pause:
    """A catalogue is not to be called before `until` (None: before somebody resumes it)."""

    catalog: str
    since: float
    until: float | None
    by: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Waiver:
    """A person (`by`) answers for a file that leaves though `catalog` has not confirmed it."""

    catalog: str
    at: float
    by: str
    why: str


def pauses(connection: sa.Connection) -> dict[str, Pause]:
    """The pauses that are written down, ended ones included until `end_pauses`."""
    return {row.catalog: Pause(**row._mapping) for row in connection.execute(sa.select(pause_table))}


def pause(connection: sa.Connection, catalog: str, until: float | None, by: str, why: str | None, now: float) -> None:
    """Pause a catalogue; one that is paused gets the new end."""
    connection.execute(sa.delete(pause_table).where(pause_table.c.catalog == catalog))
    connection.execute(sa.insert(pause_table).values(catalog=catalog, since=now, until=until, by=by, why=why))
    record_events(connection, [Event(now, ROOM, f"catalog:{catalog}", None, "paused", by, why)])


def resume(connection: sa.Connection, catalog: str, by: str | None, now: float) -> bool:
    """End a pause; whether there was one."""
    ended = connection.execute(sa.delete(pause_table).where(pause_table.c.catalog == catalog)).rowcount == 1
    if ended:
        record_events(connection, [Event(now, ROOM, f"catalog:{catalog}", "paused", "resumed", by, None if by else "its time is over")])
    return ended


def waive(connection: sa.Connection, catalog: str, files: list[JournalFile], by: str, why: str, now: float) -> None:
    """Let these files leave without `catalog`; what it misses of them stays queued and is done when it can be."""
    rows = [{"file_id": file.id, "catalog": catalog, "at": now, "by": by, "why": why} for file in files]
    insert_missing(connection, waiver_table, rows)
    queue.plan(connection, [file.id for file in files])
    record_events(connection, [Event(now, ROOM, file.subject, None, "waived", by, f"{catalog}: {why}") for file in files])


def waivers(connection: sa.Connection, file_ids: list[int]) -> dict[int, dict[str, Waiver]]:
    """The waivers of these files, by file and catalogue."""
    c = waiver_table.c
    found: dict[int, dict[str, Waiver]] = {}
    for start in range(0, len(file_ids), queue.BATCH):
        part = file_ids[start : start + queue.BATCH]
        for row in connection.execute(sa.select(waiver_table).where(c.file_id.in_(part))):
            found.setdefault(row.file_id, {})[row.catalog] = Waiver(row.catalog, row.at, row.by, row.why)
    return found
