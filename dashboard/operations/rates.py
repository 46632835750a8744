"""Arrival and processing over time: files and bytes in bins, from the times in the ledger's tasks."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from dashboard.operations.campaigns import Campaigns, final_steps


@dataclass(frozen=True, slots=True)
class Window:
    """How far back a view looks, and in what bins."""

    name: str
    words: str
    length_s: int
    bin_s: int


WINDOWS = (
    Window("10min", "10 min", 600, 10),
    Window("1h", "1 h", 3600, 60),
    Window("24h", "24 h", 86400, 900),
)


@dataclass(frozen=True, slots=True)
class Rates:
    """Files that arrived (were closed) and were processed in each of the last whole bins; entry i begins at `begin` + i `bin_s`.

    Totals are over all bins.
    """

    window: str
    begin: float
    bin_s: int
    arrived: list[int]
    processed: list[int]
    arrived_bytes: int
    processed_bytes: int


def read_rates(connection: sa.Connection, campaigns: Campaigns, window: Window, now: float) -> Rates:
    """The rates of a window that ends with the last whole bin before `now`.

    A file counts once for each campaign. Files that the catalogue knew as processed when they were taken in arrived, but were not
    processed here.
    """
    c = task_table.c
    end = floor(now / window.bin_s) * window.bin_s
    begin = end - window.length_s
    bins = window.length_s // window.bin_s

    def inside(time: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
        return sa.and_(time >= begin, time < end)

    # Two ranges, so that each can use an index.
    arrived_in_window = sa.or_(inside(c.closed_at), sa.and_(c.closed_at.is_(None), inside(c.created_at)))
    arrived, arrived_bytes = _bins(connection, campaigns, sa.func.coalesce(c.closed_at, c.created_at), arrived_in_window, begin, window)
    processed, processed_bytes = _bins(connection, campaigns, c.done_at, sa.and_(inside(c.done_at), c.attempts > 0), begin, window)
    return Rates(
        window=window.name,
        begin=begin,
        bin_s=window.bin_s,
        arrived=[arrived.get(i, 0) for i in range(bins)],
        processed=[processed.get(i, 0) for i in range(bins)],
        arrived_bytes=arrived_bytes,
        processed_bytes=processed_bytes,
    )


def _bins(
    connection: sa.Connection,
    campaigns: Campaigns,
    time: sa.ColumnElement[float],
    in_window: sa.ColumnElement[bool],
    begin: float,
    window: Window,
) -> tuple[dict[int, int], int]:
    c = task_table.c
    index = sa.cast((time - begin) // window.bin_s, sa.Integer).label("bin")
    statement = (
        sa.select(index, sa.func.count(), sa.func.sum(c.size_bytes))
        .where(in_window, c.step.in_(final_steps(campaigns)), c.campaign_id.in_(campaigns))
        .group_by(index)
    )
    rows = connection.execute(statement).all()
    return {number: files for number, files, _ in rows}, sum(int(size_bytes) for *_, size_bytes in rows)
