"""What the engine measures of its own work: how fast tasks come, and how long a job holds its slot."""

from __future__ import annotations

from collections import deque
from statistics import median

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, task_table
from campaign.states import AttemptState

WINDOW_S = 600.0
JOBS = 200


class Measures:
    """Kept in memory, filled from the ledger at the start. Times in seconds since the Unix epoch."""

    def __init__(self, connection: sa.Connection) -> None:
        a = attempt_table.c
        took = a.ended_at - sa.func.coalesce(a.submitted_at, a.created_at)
        last = sa.select(took).where(a.ended_at.is_not(None), a.state == AttemptState.SUCCEEDED).order_by(a.ended_at.desc()).limit(JOBS)
        self._job_s: deque[float] = deque(reversed([max(float(value), 0.0) for value in connection.execute(last).scalars()]), maxlen=JOBS)
        self._arrivals: deque[tuple[float, int, int]] = deque()
        self._since: float | None = None

    def arrived(self, tasks: int, size_bytes: int, now: float) -> None:
        """New tasks have come, of inputs of so many bytes."""
        self._since = now if self._since is None else self._since
        if tasks:
            self._arrivals.append((now, tasks, size_bytes))
        while self._arrivals and (self._arrivals[0][0] < now - WINDOW_S or self._arrivals[0][0] > now):
            self._arrivals.popleft()

    def ended(self, slot_s: float) -> None:
        """A job that went well has held its slot for so long."""
        self._job_s.append(max(slot_s, 0.0))

    def _window_s(self, now: float) -> float:
        """How long there has been something to measure; no less than a minute, so that the first files do not look like a flood."""
        return min(max(now - (self._since if self._since is not None else now), 60.0), WINDOW_S)

    def tasks_per_s(self, now: float) -> float:
        """New tasks per second, lately."""
        return sum(tasks for at, tasks, _ in self._arrivals if now - WINDOW_S <= at <= now) / self._window_s(now)

    def bytes_per_s(self, now: float) -> float:
        """Bytes of new inputs per second, lately."""
        return sum(size for at, _, size in self._arrivals if now - WINDOW_S <= at <= now) / self._window_s(now)

    @property
    def job_s(self) -> float | None:
        """How long a job holds its slot, the median of the last ones; None: none has ended yet."""
        return median(self._job_s) if self._job_s else None


def size_of_new(connection: sa.Connection, after_id: int, now: float) -> tuple[int, int, int]:
    """How many tasks came after the one with `after_id`, the bytes of their inputs, and the id of the last one.

    Files that were closed long ago and come in only now, after an outage or for a new campaign, say nothing about the rate of arrivals.
    """
    c = task_table.c
    lately = c.closed_at >= now - WINDOW_S
    tasks, size, last = connection.execute(
        sa.select(
            sa.func.sum(sa.case((lately, 1), else_=0)),
            sa.func.sum(sa.case((sa.and_(lately, c.id == c.input_id), c.size_bytes), else_=0)),
            sa.func.max(c.id),
        ).where(c.id > after_id)
    ).one()
    return int(tasks or 0), int(size or 0), int(last or after_id)


def last_task(connection: sa.Connection) -> int:
    """The id of the newest task."""
    return int(connection.execute(sa.select(sa.func.max(task_table.c.id))).scalar_one() or 0)
