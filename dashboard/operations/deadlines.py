"""Which unprocessed file the buffer gives up first."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from campaign.states import TaskState
from dashboard.operations.campaigns import Campaigns, final_steps, of_campaigns

_UNPROCESSED = tuple(state for state in TaskState if state not in (TaskState.DONE, TaskState.WAIVED))


@dataclass(frozen=True, slots=True)
class NextDeadline:
    """The unprocessed file with the earliest deadline; one that is past means that the file is overdue."""

    at: float
    input_did: str
    run: int
    file_index: int | None
    state: str


def read_next_deadline(connection: sa.Connection, campaigns: Campaigns, now: float) -> NextDeadline | None:
    """The earliest deadline of an unprocessed file; parked files, which wait for a person, only until theirs is over."""
    c = task_table.c
    earliest: NextDeadline | None = None
    for state in _UNPROCESSED:
        for late in (False, True):
            # The words are those of the index over what is open: a look-up for each state.
            of_state = (c.done_at.is_(None), c.state == state, c.late.is_(late))
            still_ahead = (c.deadline >= now,) if state is TaskState.PARKED else ()
            row = connection.execute(
                sa.select(c.deadline, c.input_did, c.run, c.file_index, c.state)
                .where(*of_state, *still_ahead, c.step.in_(final_steps(campaigns)), of_campaigns(campaigns))
                .order_by(c.deadline)
                .limit(1)
            ).one_or_none()
            if row is not None and (earliest is None or row.deadline < earliest.at):
                earliest = NextDeadline(*row)
    return earliest
