"""Whether the ledger agrees with itself: tasks with their attempts, commits and times, and the summary with the tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa

from campaign.installation import ActiveCampaign
from campaign.layout import ALL_STAGES, CHAIN, steps_of
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import attempt_table, commit_table, count_table, task_table
from campaign.ledger.tasks import Move, Task
from campaign.reconcile.finding import Finding
from campaign.states import IN_FLIGHT, AttemptState, TaskState

RECONCILE = "reconcile"

_BEFORE = dict(zip(ALL_STAGES[1:], ALL_STAGES, strict=False))
_T, _A = task_table.c, attempt_table.c


def check(
    connection: sa.Connection, campaigns: Mapping[int, ActiveCampaign], run: int | None, now: float, *, change: bool
) -> list[Finding]:
    """Everything of this module but the summary, which is checked last; with `change` it is put right."""
    of_run: list[sa.ColumnElement[bool]] = [] if run is None else [_T.run == run]
    return [
        *_times(connection, of_run, now, change=change),
        *_without_attempt(connection, of_run, now, change=change),
        *_without_task(connection, of_run, now, change=change),
        *_without_commit(connection, of_run, now, change=change),
        *_blocked_by_nothing(connection, campaigns, of_run, now, change=change),
    ]


def _times(connection: sa.Connection, of_run: list[sa.ColumnElement[bool]], now: float, *, change: bool) -> list[Finding]:
    """A task that is not done but has a time of it is seen by nobody any more."""
    forgotten = ledger_tasks.select(connection, _T.done_at.is_not(None), _T.state != TaskState.DONE, *of_run)
    timeless = ledger_tasks.select(connection, _T.done_at.is_(None), _T.state == TaskState.DONE, *of_run)
    if change:
        for tasks, value in ((forgotten, None), (timeless, now)):
            for ids in ledger_tasks.chunks([task.id for task in tasks]):
                connection.execute(sa.update(task_table).where(_T.id.in_(ids)).values(done_at=value))
    return [
        Finding("task whose state and time of being done disagree", task.input_did, "time set", change) for task in forgotten + timeless
    ]


def _without_attempt(connection: sa.Connection, of_run: list[sa.ColumnElement[bool]], now: float, *, change: bool) -> list[Finding]:
    open_attempt = sa.exists().where(_A.task_id == _T.id, _A.ended_at.is_(None))
    tasks = ledger_tasks.select(connection, ledger_tasks.OPEN, _T.state.in_(IN_FLIGHT), ~open_attempt, *of_run)
    if change:
        _again(connection, tasks, "its attempt is not in the ledger", now)
    return [Finding("task at work without an attempt", task.input_did, "tried again", change) for task in tasks]


def _without_task(connection: sa.Connection, of_run: list[sa.ColumnElement[bool]], now: float, *, change: bool) -> list[Finding]:
    """An open attempt of a task that is not at work would keep the task from ever being tried again."""
    odd = sa.select(_A.id).join(task_table, _T.id == _A.task_id).where(_A.ended_at.is_(None), _T.state.not_in(IN_FLIGHT), *of_run)
    attempts = ledger_attempts.by_ids(connection, list(connection.execute(odd).scalars()))
    if change:
        values = {"state": AttemptState.LOST, "ended_at": now, "error_class": "lost", "message": "its task is not at work"}
        ledger_attempts.update(connection, [ledger_attempts.Change(attempt, values) for attempt in attempts.values()], now)
    return [Finding("attempt in flight whose task is not at work", attempt, "ended as lost", change) for attempt in sorted(attempts)]


def _without_commit(connection: sa.Connection, of_run: list[sa.ColumnElement[bool]], now: float, *, change: bool) -> list[Finding]:
    """A reported task waits for outputs that are declared; without a commit there are none."""
    stage = sa.case((_T.step == CHAIN, "evaluate"), else_=_T.step)
    commit = sa.exists().where(commit_table.c.input_id == _T.input_id, commit_table.c.stage == stage)
    tasks = ledger_tasks.select(connection, ledger_tasks.OPEN, _T.state == TaskState.REPORTED, ~commit, *of_run)
    if change:
        _again(connection, tasks, "what its job committed is not in the ledger", now)
    return [Finding("reported task without committed outputs", task.input_did, "tried again", change) for task in tasks]


def _blocked_by_nothing(
    connection: sa.Connection, campaigns: Mapping[int, ActiveCampaign], of_run: list[sa.ColumnElement[bool]], now: float, *, change: bool
) -> list[Finding]:
    """The first step of a chain waits for nobody."""
    tasks: list[Task] = []
    for campaign in campaigns.values():
        first = steps_of(campaign.settings.layout)[0].name
        mine = (_T.campaign_id == campaign.id, _T.step == first, _T.state == TaskState.BLOCKED)
        tasks += ledger_tasks.select(connection, ledger_tasks.OPEN, *mine, *of_run)
    if change:
        moves = [Move(task, TaskState.READY, "nothing is before it", {"ready_at": now}) for task in tasks]
        ledger_tasks.apply(connection, moves, now, by=RECONCILE)
    return [Finding("task blocked though it is the first", task.input_did, "made ready", change) for task in tasks]


def check_blocked(connection: sa.Connection, run: int | None, now: float, *, change: bool) -> list[Finding]:
    """What waits for a step that is done. The engine lets tasks go as the ones before end, and looks at all of them at its start only."""
    tasks = [task for task in ledger_tasks.unblocked(connection, _BEFORE) if run in (None, task.run)]
    if change:
        moves = [Move(task, TaskState.READY, "the step before is done", {"ready_at": now}) for task in tasks]
        ledger_tasks.apply(connection, moves, now, by=RECONCILE)
    return [Finding("task blocked though the step before is done", task.input_did, "made ready", change) for task in tasks]


def _again(connection: sa.Connection, tasks: list[Task], why: str, now: float) -> None:
    moves = [Move(task, TaskState.WAITING_RETRY, why, {"ready_at": now, "error_class": "lost"}) for task in tasks]
    ledger_tasks.apply(connection, moves, now, by=RECONCILE)


def check_counts(connection: sa.Connection, *, change: bool) -> list[Finding]:
    """The summary of all tasks, against a recount."""
    c = count_table.c
    rows = connection.execute(sa.select(c.campaign_id, c.run, c.step, c.state, c.late, c.tasks).where(c.tasks != 0))
    there = Counter({(row[0], row[1], row[2], TaskState(row[3]), bool(row[4])): row[5] for row in rows})
    right = ledger_tasks.recount(connection)
    wrong = sorted({key for key in there.keys() | right.keys() if there[key] != right[key]})
    if wrong and change:
        connection.execute(sa.delete(count_table))
        names = ("campaign_id", "run", "step", "state", "late")
        values = [dict(zip(names, (*key[:3], key[3].value, key[4]), strict=True)) | {"tasks": tasks} for key, tasks in right.items()]
        if values:
            connection.execute(sa.insert(count_table), values)
    return [Finding("wrong count of tasks", f"run {key[1]}, {key[2]}, {key[3]}", "counted again", change) for key in wrong]
