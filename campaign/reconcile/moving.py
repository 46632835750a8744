"""Brings tasks to the end, or back to the beginning, over the transitions there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from campaign.installation import ActiveCampaign
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Move, Task
from campaign.reconcile.itself import RECONCILE
from campaign.states import IN_FLIGHT, TRANSITIONS, TaskState


def to_done(connection: sa.Connection, tasks: Sequence[Task], why: str, now: float) -> None:
    """Bring tasks that no job works on to DONE."""
    indirect = [task for task in tasks if TaskState.DONE not in TRANSITIONS[task.state]]
    ledger_tasks.apply(connection, [Move(task, TaskState.READY, why) for task in indirect], now, by=RECONCILE)
    fresh = ledger_tasks.by_ids(connection, [task.id for task in tasks])
    ledger_tasks.apply(connection, [Move(task, TaskState.DONE, why, {"done_at": now}) for task in fresh.values()], now, by=RECONCILE)


def to_begin(connection: sa.Connection, campaigns: Mapping[int, ActiveCampaign], inputs: Sequence[int], why: str, now: float) -> None:
    """Have inputs (the ids of their first tasks) processed from the beginning: nothing counts any more of what they had."""
    for part in ledger_tasks.chunks(sorted(set(inputs))):
        tasks = ledger_tasks.select(connection, task_table.c.input_id.in_(part))
        for input_id in part:
            committed = ledger_attempts.committed(connection, [input_id])[input_id]
            ledger_attempts.uncommit(connection, input_id, list(committed))
        moves = []
        for task in tasks:
            step = campaigns[task.campaign_id].steps[task.step]
            to = TaskState.BLOCKED if step.after else TaskState.READY
            if task.state in IN_FLIGHT or task.state in (to, TaskState.WAITING_RETRY, TaskState.PARKED, TaskState.WAIVED):
                continue
            if task.state is TaskState.REPORTED and to is TaskState.READY:
                to = TaskState.WAITING_RETRY
            if to in TRANSITIONS[task.state]:
                moves.append(Move(task, to, why, {"ready_at": now}))
        ledger_tasks.apply(connection, moves, now, by=RECONCILE)
