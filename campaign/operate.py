"""What operators do to tasks by hand."""

from __future__ import annotations

import sqlalchemy as sa

from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Move, Task
from campaign.states import TaskState


def parked(connection: sa.Connection, *, run: int | None = None, campaign: str | None = None) -> list[Task]:
    """The parked tasks, of one run or campaign if given."""
    conditions: list[sa.ColumnElement[bool]] = [task_table.c.state == TaskState.PARKED]
    if run is not None:
        conditions.append(task_table.c.run == run)
    if campaign is not None:
        conditions.append(task_table.c.campaign_id.in_(sa.select(campaign_table.c.id).where(campaign_table.c.name == campaign)))
    return ledger_tasks.select(connection, *conditions)


def retry_parked(connection: sa.Connection, now: float, *, by: str, run: int | None = None, campaign: str | None = None) -> int:
    """Let parked tasks be tried again, with all their retries; how many."""
    tasks = parked(connection, run=run, campaign=campaign)
    moves = [Move(task, TaskState.READY, "retry asked for", {"failures": 0, "ready_at": now}) for task in tasks]
    ledger_tasks.apply(connection, moves, now, by=by)
    return len(moves)
