"""What the next shift has to watch: open alarms, what waits for a person, and the file the buffer gives up next."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dashboard import words
from dashboard.alarms.tables import alarm_table
from dashboard.operations.campaigns import Campaigns
from dashboard.operations.deadlines import read_next_deadline

SOON_S = 8 * 3600.0
MOST_ALARMS = 20


@dataclass(frozen=True, slots=True)
class Watch:
    """A thing to watch, in words; `link` under the service's root."""

    words: str
    link: str


def read_watch(connection: sa.Connection, campaigns: Campaigns, parked: int, stopped: int, now: float) -> list[Watch]:
    """The most urgent first: alarms, then what will be lost without a person."""
    found = [*_alarms(connection, now)]
    deadline = read_next_deadline(connection, campaigns, now)
    if deadline is not None and deadline.at < now + SOON_S:
        left = deadline.at - now
        when = f"in {words.duration(left)}" if left > 0 else f"since {words.duration(-left)}"
        file = f"run {deadline.run}" + (f", file {deadline.file_index}" if deadline.file_index is not None else "")
        found.append(Watch(f"the buffer may give up {file}, which is not processed, {when}", f"/files/{deadline.input_did}"))
    if parked:
        found.append(Watch(f"{parked} {_tasks(parked)} parked and for a person to decide: retry or waive", "/parked"))
    if stopped:
        found.append(Watch(f"{stopped} {'file' if stopped == 1 else 'files'} found in the period cannot be declared without a person", "/"))
    return found


def _tasks(number: int) -> str:
    return "task is" if number == 1 else "tasks are"


def _alarms(connection: sa.Connection, now: float) -> list[Watch]:
    a = alarm_table.c
    statement = (
        sa.select(a.message, a.raised_at, a.owner, a.acknowledged_by, a.acknowledged_until)
        .where(a.cleared_at.is_(None), a.raised_at.is_not(None))
        .order_by(a.acknowledged_at.is_not(None), a.raised_at)
        .limit(MOST_ALARMS)
    )
    found = []
    for row in connection.execute(statement):
        said = f"alarm since {words.duration(now - row.raised_at)}: {row.message}"
        if row.acknowledged_by is not None and (row.acknowledged_until is None or row.acknowledged_until > now):
            said += f" (acknowledged by {row.acknowledged_by})"
        found.append(Watch(said, "/alarms"))
    return found
