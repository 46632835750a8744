"""Is it prompt? Of the files decided lately, in the newest run and today, those that were done soon enough after they were closed.

A file is decided when it is done, or when the time it had (`slots.drain_within` after closing) is over; a parked or waived one at once.
Each is decided once. Costs grow with the files decided in the period, not with those of the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import count_table, task_table
from campaign.states import TaskState
from dashboard.operations.campaigns import Campaigns, final_steps, of_campaigns

NOW_S = 600.0
DAY_S = 86400.0
_STOPPED = (TaskState.PARKED, TaskState.WAIVED)
_NOT_DONE = tuple(state for state in TaskState if state is not TaskState.DONE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The files decided in a period: done in time, done later, still unfinished, and stopped (parked or waived).

    `fraction` is in time / all four; None when nothing was decided. What the catalogue knew as done when it was taken in is left out.
    """

    in_time: int
    done_later: int
    unfinished: int
    stopped: int
    decided: int
    fraction: float | None

    @classmethod
    def of(cls, in_time: int, done_later: int, unfinished: int, stopped: int) -> Prompt:
        decided = in_time + done_later + unfinished + stopped
        return cls(in_time, done_later, unfinished, stopped, decided, in_time / decided if decided else None)


@dataclass(frozen=True, slots=True)
class Promptness:
    """The three periods: the last ten minutes, the newest run (None: there is none), the day (UTC). `within_s` is the time a file has."""

    within_s: float
    now: Prompt
    run: Prompt
    run_number: int | None
    today: Prompt


@dataclass(frozen=True, slots=True)
class Asked:
    """Which files count, and how long after closing they may be done. `probe_run` is a run that does not count."""

    campaigns: Campaigns
    within_s: float
    probe_run: int | None = None

    @property
    def where(self) -> Sequence[sa.ColumnElement[bool]]:
        c = task_table.c
        ours = (c.step.in_(final_steps(self.campaigns)), of_campaigns(self.campaigns))
        return ours if self.probe_run is None else (*ours, c.run != self.probe_run)

    @property
    def over_at(self) -> sa.ColumnElement[float]:
        """When a file's time is over. One that others declared has no time of closing here: it counts from when it was taken in."""
        c = task_table.c
        return sa.func.coalesce(c.closed_at, c.created_at) + self.within_s


def read_promptness(connection: sa.Connection, asked: Asked, now: float) -> Promptness:
    """The fraction prompt in the three periods."""
    run = newest_run(connection, asked)
    return Promptness(
        within_s=asked.within_s,
        now=prompt_since(connection, asked, now - NOW_S, now),
        run=prompt_of_run(connection, asked, run, now) if run is not None else Prompt.of(0, 0, 0, 0),
        run_number=run,
        today=prompt_since(connection, asked, now // DAY_S * DAY_S, now),
    )


def newest_run(connection: sa.Connection, asked: Asked) -> int | None:
    """The highest run number with tasks."""
    c = count_table.c
    statement = sa.select(sa.func.max(c.run)).where(c.campaign_id.in_(asked.campaigns), c.tasks > 0)
    if asked.probe_run is not None:
        statement = statement.where(c.run != asked.probe_run)
    run: int | None = connection.execute(statement).scalar_one()
    return run


def prompt_since(connection: sa.Connection, asked: Asked, since: float, now: float) -> Prompt:
    """The files decided after `since`."""
    c = task_table.c
    in_time, done_later = connection.execute(
        sa.select(_number(c.done_at <= asked.over_at), _number(c.done_at > asked.over_at, asked.over_at > since)).where(
            c.done_at.is_not(None), c.done_at > since, c.attempts > 0, *asked.where
        )
    ).one()
    # No deadline is before the closing, so that old files are passed over in the index of what is open.
    indexed = (c.done_at.is_(None), c.state.in_(_NOT_DONE), c.late.in_((False, True)), c.deadline > since - asked.within_s)
    unfinished, stopped = connection.execute(sa.select(*_not_done(asked, now)).where(*indexed, asked.over_at > since, *asked.where)).one()
    return Prompt.of(int(in_time), int(done_later), int(unfinished), int(stopped))


def prompt_of_run(connection: sa.Connection, asked: Asked, run: int, now: float) -> Prompt:
    """The decided files of one run."""
    c = task_table.c
    done = (c.done_at.is_not(None), c.attempts > 0)
    row = connection.execute(
        sa.select(_number(*done, c.done_at <= asked.over_at), _number(*done, c.done_at > asked.over_at), *_not_done(asked, now)).where(
            c.run == run, *asked.where
        )
    ).one()
    return Prompt.of(*(int(value) for value in row))


def _not_done(asked: Asked, now: float) -> tuple[sa.ColumnElement[int], sa.ColumnElement[int]]:
    c = task_table.c
    unfinished = _number(c.done_at.is_(None), c.state.not_in(_STOPPED), asked.over_at <= now)
    return unfinished, _number(c.done_at.is_(None), c.state.in_(_STOPPED))


def _number(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((sa.and_(*conditions), 1), else_=0)), 0)
