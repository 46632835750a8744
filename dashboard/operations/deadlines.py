"""Is it prompt? Which files were processed while they were still on disk, and which must be next."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from campaign.states import TaskState
from dashboard.operations.campaigns import Campaigns, final_steps

_UNPROCESSED = tuple(state for state in TaskState if state not in (TaskState.DONE, TaskState.WAIVED))


@dataclass(frozen=True, slots=True)
class Promptness:
    """Files by whether they were processed within the lifetime of the buffer. What was waived, or done elsewhere before, is left out.

    `fraction` is that of the decided ones: in time / (in time + too late + overdue); None when nothing is decided.
    """

    in_time: int
    too_late: int
    overdue: int
    open: int
    fraction: float | None


@dataclass(frozen=True, slots=True)
class NextDeadline:
    """The unprocessed file that the buffer gives up first, of those it still holds by its deadline."""

    at: float
    input_did: str
    run: int
    file_index: int | None
    state: str


def read_promptness(connection: sa.Connection, campaigns: Campaigns, now: float) -> Promptness:
    """How many files were, were not, and can still be prompt. Reads every file of the ledger."""
    c = task_table.c
    done = c.state == TaskState.DONE
    unprocessed = c.state.in_(_UNPROCESSED)

    def number(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((sa.and_(*conditions), 1), else_=0)), 0)

    row = connection.execute(
        sa.select(
            number(done, c.attempts > 0, c.done_at <= c.deadline),
            number(done, c.attempts > 0, c.done_at > c.deadline),
            number(unprocessed, c.deadline < now),
            number(unprocessed, c.deadline >= now),
        ).where(c.step.in_(final_steps(campaigns)), c.campaign_id.in_(campaigns))
    ).one()
    in_time, too_late, overdue, still_open = (int(value) for value in row)
    decided = in_time + too_late + overdue
    return Promptness(in_time, too_late, overdue, still_open, in_time / decided if decided else None)


def read_next_deadline(connection: sa.Connection, campaigns: Campaigns, now: float) -> NextDeadline | None:
    """The earliest deadline still to come; an index lookup for each state."""
    c = task_table.c
    earliest: NextDeadline | None = None
    for state in _UNPROCESSED:
        for late in (False, True):
            row = connection.execute(
                sa.select(c.deadline, c.input_did, c.run, c.file_index, c.state)
                .where(
                    c.state == state,
                    c.late.is_(late),
                    c.deadline >= now,
                    c.step.in_(final_steps(campaigns)),
                    c.campaign_id.in_(campaigns),
                )
                .order_by(c.deadline)
                .limit(1)
            ).one_or_none()
            if row is not None and (earliest is None or row.deadline < earliest.at):
                earliest = NextDeadline(*row)
    return earliest
