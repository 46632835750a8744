"""Rules about room in the disk buffer: how full it is, and when it will be full."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sqlalchemy as sa

from dashboard import words
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules.rule import Look, Rule
from dashboard.operations.buffer import BufferFill
from dashboard.operations.tables import sample_table

FIT_S = 2 * 3600.0
# Less says nothing about a trend.
FEWEST_SAMPLES = 10
SHORTEST_FIT_S = 1200.0
URGENT_S = 3600.0


def _buffer_above(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    buffer = look.operations.buffer
    if buffer.fraction is None or buffer.fraction <= limit:
        return
    message = f"the buffer is {words.percent(buffer.fraction)} full: {words.size(buffer.used_bytes)} of {words.size(buffer.capacity_bytes)}"
    yield Finding("buffer_above", "buffer", Severity.ALARM, message, "/")


def _full_within(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    room_bytes = _room(look.operations.buffer)
    rate = fill_rate(connection, look.now)
    if room_bytes is None or rate is None or rate <= 0:
        return
    left_s = room_bytes / rate
    if left_s > limit:
        return
    severity = Severity.ALARM if left_s < URGENT_S else Severity.WARNING
    message = (
        f"the buffer fills by {words.size(rate * 3600)} an hour and will be full in {words.duration(left_s)}, "
        f"at {words.moment(look.now + left_s)} UTC"
    )
    yield Finding("disk_full_within", "buffer", severity, message, "/")


def _room(buffer: BufferFill) -> int | None:
    """Bytes that can still come: of its capacity, and of its file system, which others may use too."""
    rooms = []
    if buffer.capacity_bytes is not None:
        rooms.append(max(buffer.capacity_bytes - buffer.used_bytes, 0))
    if buffer.disk is not None:
        rooms.append(buffer.disk.free_bytes)
    return min(rooms, default=None)


def fill_rate(connection: sa.Connection, now: float) -> float | None:
    """Bytes per second by which the buffer fills: the slope of a line through the samples of the last two hours."""
    s = sample_table.c
    lately = (s.at > now - FIT_S, s.at <= now, s.buffer_bytes.is_not(None))
    finest = sa.select(sa.func.min(s.interval_s)).where(*lately).scalar_subquery()
    rows = connection.execute(sa.select(s.at, s.buffer_bytes).where(s.interval_s == finest, *lately).order_by(s.at)).all()
    if len(rows) < FEWEST_SAMPLES or rows[-1].at - rows[0].at < SHORTEST_FIT_S:
        return None
    at, used = np.array(rows, dtype=np.float64).T
    slope, _ = np.polyfit(at - at[0], used, 1)
    return float(slope)


RULES = (
    Rule(
        "buffer_above",
        "the buffer is too full",
        "Files leave more slowly than they come. When it is full the data acquisition cannot write, and data are lost.",
        "`dune-prompt declare status` and `declare proof FILE` say what keeps files from leaving: unprocessed, not declared, no copy yet. "
        "Repair that; if it takes long, tell the run coordinator.",
        words.percent,
        _buffer_above,
    ),
    Rule(
        "disk_full_within",
        "the buffer will soon be full",
        "As fast as it fills now there will be no room at the time that is named, unless files begin to leave before.",
        "Look whether processing keeps up (backlog, failures) and whether files that are done leave (`dune-prompt declare status`).",
        words.duration,
        _full_within,
    ),
)
