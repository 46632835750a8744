"""The last minutes to the last month in charts: samples of the operations page in even steps, with gaps where none was taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import sqlalchemy as sa

from dashboard.operations.tables import sample_table


@dataclass(frozen=True, slots=True)
class HistoryWindow:
    """How far back the charts look, and the interval of the samples they show."""

    name: str
    words: str
    length_s: int
    interval_s: int


HISTORY_WINDOWS = (
    HistoryWindow("10min", "10 min", 600, 10),
    HistoryWindow("1h", "1 h", 3600, 10),
    HistoryWindow("8h", "8 h", 8 * 3600, 60),
    HistoryWindow("24h", "24 h", 86400, 60),
    HistoryWindow("7d", "7 d", 7 * 86400, 600),
    HistoryWindow("30d", "30 d", 30 * 86400, 3600),
)
DEFAULT_WINDOW = HISTORY_WINDOWS[2]

# Rates are taken over so long a time at least: files are counted, and few come in one slot.
RATE_S = 300

Column = list[float | None]
# As they are in the samples; the other columns are made of two of theirs.
_PLAIN = ("running", "queued", "slots_wanted", "backlog", "parked", "late", "buffer_bytes", "buffer_fraction", "undeclared")


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest value of a column; None when it has none."""

    lowest: float | None
    median: float | None
    highest: float | None


@dataclass(frozen=True, slots=True)
class History:
    """Columns of equal length; entry i is of the slot that begins at `begin` + i `interval_s` (None: nothing was sampled then).

    `arrived_per_s` and `processed_per_s` are over the five minutes before (the interval, where that is longer), `fraction_in_time` is
    that of the files decided in the ten minutes before. `low_water` and `high_water` are marks of `buffer_fraction`.
    """

    window: str
    begin: float
    interval_s: int
    low_water: float
    high_water: float
    columns: dict[str, Column]
    spreads: dict[str, Spread]


def window_named(name: str | None) -> HistoryWindow:
    """The window of this name; the default one when there is none."""
    return next((window for window in HISTORY_WINDOWS if window.name == name), DEFAULT_WINDOW)


def read_history(connection: sa.Connection, window: HistoryWindow, now: float, marks: tuple[float, float]) -> History:
    """The samples of a window that ends now; `marks` are the buffer's low and high water."""
    s = sample_table.c
    last = math.floor(now / window.interval_s) * window.interval_s
    slots = window.length_s // window.interval_s
    begin = last - (slots - 1) * window.interval_s
    steps = max(1, RATE_S // window.interval_s)
    first = begin - steps * window.interval_s
    every: list[Any] = [None] * (steps + slots)
    statement = sa.select(sample_table).where(s.interval_s == window.interval_s, s.at >= first, s.at <= last)
    for row in connection.execute(statement):
        every[round((row.at - first) / window.interval_s)] = row
    rows = every[steps:]
    columns: dict[str, Column] = {
        "arrived_per_s": _rates([row and row.files for row in every], steps, window.interval_s),
        "processed_per_s": _rates([row and row.done for row in every], steps, window.interval_s),
        "fraction_in_time": [row.in_time / row.decided if row is not None and row.decided else None for row in rows],
    }
    columns |= {name: [row and getattr(row, name) for row in rows] for name in _PLAIN}
    return History(
        window=window.name,
        begin=float(begin),
        interval_s=window.interval_s,
        low_water=marks[0],
        high_water=marks[1],
        columns=columns,
        spreads={name: _spread(column) for name, column in columns.items()},
    )


def _rates(totals: Sequence[int | None], steps: int, interval_s: int) -> Column:
    """How fast a total grew in the `steps` slots up to each. One that shrinks, as when a campaign is no longer counted, tells no rate."""
    pairs = zip(totals, totals[steps:], strict=False)
    return [None if a is None or b is None or b < a else (b - a) / (steps * interval_s) for a, b in pairs]


def _spread(column: Column) -> Spread:
    values = [value for value in column if value is not None]
    return Spread(min(values), median(values), max(values)) if values else Spread(None, None, None)
