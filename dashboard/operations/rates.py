"""Arrival and processing: files and bytes over the last ten minutes, hour and day, from the times in the ledger's tasks."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from dashboard.operations.campaigns import Campaigns, final_steps, of_campaigns

# Clocks are set: tasks may be a little out of the order of their ids.
CLOCK_MARGIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Window:
    """How far back a number looks."""

    name: str
    words: str
    length_s: int


WINDOWS = (Window("10min", "10 min", 600), Window("1h", "1 h", 3600), Window("24h", "24 h", 86400))


@dataclass(frozen=True, slots=True)
class Rates:
    """Files that arrived (were closed) and were processed in the last `length_s` seconds, and their bytes."""

    length_s: int
    arrived: int
    arrived_bytes: int
    processed: int
    processed_bytes: int

    @property
    def arrived_per_s(self) -> float:
        return self.arrived / self.length_s

    @property
    def processed_per_s(self) -> float:
        return self.processed / self.length_s

    @property
    def arrived_bytes_per_s(self) -> float:
        return self.arrived_bytes / self.length_s

    @property
    def processed_bytes_per_s(self) -> float:
        return self.processed_bytes / self.length_s


def read_rates(connection: sa.Connection, campaigns: Campaigns, window: Window, now: float) -> Rates:
    """The rates of a window that ends at `now`.

    A file counts once for each campaign. Files that the catalogue knew as processed when they were taken in arrived, but were not
    processed here.
    """
    c = task_table.c
    begin = now - window.length_s
    closed = sa.func.coalesce(c.closed_at, c.created_at)
    # A file is taken in after it was closed.
    taken_in_since = c.id >= first_task_since(connection, begin - CLOCK_MARGIN_S)
    arrived, arrived_bytes = _sum(connection, campaigns, taken_in_since, closed > begin, closed <= now)
    done = (c.done_at.is_not(None), c.done_at > begin, c.done_at <= now, c.attempts > 0)
    processed, processed_bytes = _sum(connection, campaigns, *done)
    return Rates(window.length_s, arrived, arrived_bytes, processed, processed_bytes)


def first_task_since(connection: sa.Connection, at: float) -> int:
    """The id of the first task made at or after `at`; one more than the last id when there is none. A search by halves."""
    c = task_table.c
    low, high = 0, int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(c.id), -1))).scalar_one()) + 1
    while low < high:
        middle = (low + high) // 2
        # Ids may have gaps; `high` is one past the last, so there is always one from the middle on.
        row = connection.execute(sa.select(c.id, c.created_at).where(c.id >= middle).order_by(c.id).limit(1)).one()
        if row.created_at >= at:
            high = middle
        else:
            low = int(row.id) + 1
    return low


def _sum(connection: sa.Connection, campaigns: Campaigns, *conditions: sa.ColumnElement[bool]) -> tuple[int, int]:
    c = task_table.c
    statement = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(c.size_bytes), 0)).where(
        *conditions, c.step.in_(final_steps(campaigns)), of_campaigns(campaigns)
    )
    files, size_bytes = connection.execute(statement).one()
    return int(files), int(size_bytes)
