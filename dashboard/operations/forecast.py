"""When will it be over? The time until the backlog is worked off and until the buffer is too full, at the present rates."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.operations.buffer import BufferFill
from dashboard.operations.rates import Rates
from dashboard.operations.tables import sample_table

# The fill of the buffer is compared with a sample so old; younger ones say too little of a slow change.
OLDEST_S, YOUNGEST_S = 1800.0, 120.0
FINEST_S = 10


@dataclass(frozen=True, slots=True)
class Drain:
    """How the backlog goes: by `net_per_s` files less each second (negative: it grows). `seconds` until it is empty; None: it is not
    getting less, or there is none."""

    net_per_s: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class FillForecast:
    """How the buffer fills: bytes each second (None: not watched for long enough), and the time until high water (None: never so)."""

    bytes_per_s: float | None
    to_high_water_s: float | None


def drain_of(backlog: int, rates: Rates) -> Drain:
    """The time to drain at the rates of the last minutes."""
    net = rates.processed_per_s - rates.arrived_per_s
    return Drain(net, backlog / net if backlog and net > 0 else None)


def read_fill_forecast(connection: sa.Connection, fill: BufferFill, now: float) -> FillForecast:
    """The time to high water, by the oldest sample of the last half hour."""
    s = sample_table.c
    before = connection.execute(
        sa.select(s.at, s.buffer_bytes)
        .where(s.interval_s == FINEST_S, s.at >= now - OLDEST_S, s.at <= now - YOUNGEST_S, s.buffer_bytes.is_not(None))
        .order_by(s.at)
        .limit(1)
    ).one_or_none()
    if before is None:
        return FillForecast(None, None)
    rate = (fill.used_bytes - before.buffer_bytes) / (now - before.at)
    room = None if fill.capacity_bytes is None else fill.high_water * fill.capacity_bytes - fill.used_bytes
    return FillForecast(rate, room / rate if room is not None and room > 0 and rate > 0 else None)
