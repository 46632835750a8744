"""Parked tasks are tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from campaign.commands.protocol import Arguments, Command, Rows
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Move, Task
from campaign.states import TaskState

if TYPE_CHECKING:
    from campaign.engine import Engine


class RetryArguments(Arguments):
    """Which parked tasks: those that fit all that is given."""

    run: int | None = None
    campaign: str | None = None
    error_class: str | None = None


def parked(connection: sa.Connection, *, run: int | None = None, campaign: str | None = None, error_class: str | None = None) -> list[Task]:
    """The parked tasks, of one run, campaign or class of failure if given."""
    c = task_table.c
    conditions: list[sa.ColumnElement[bool]] = [ledger_tasks.OPEN, c.state == TaskState.PARKED]
    if run is not None:
        conditions.append(c.run == run)
    if campaign is not None:
        conditions.append(c.campaign_id.in_(sa.select(campaign_table.c.id).where(campaign_table.c.name == campaign)))
    if error_class is not None:
        conditions.append(c.error_class == error_class)
    return ledger_tasks.select(connection, *conditions)


def retry(engine: Engine, arguments: RetryArguments, now: float) -> Rows:
    """Let parked tasks be tried again, with all their retries."""
    with engine.writing() as connection:
        tasks = parked(connection, run=arguments.run, campaign=arguments.campaign, error_class=arguments.error_class)
        if not arguments.dry_run:
            moves = [Move(task, TaskState.READY, "retry asked for", {"failures": 0, "ready_at": now}) for task in tasks]
            ledger_tasks.apply(connection, moves, now, by=arguments.by)
    return [{"input": task.input_did, "step": task.step, "class": task.error_class, "message": task.message} for task in tasks]


RETRY = Command("retry", RetryArguments, retry)
