"""The rows behind the numbers of a hand-over: one question each, counted for the page and listed for who wants to see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, task_table
from campaign.states import TaskState
from dashboard.dqm.tables import result_table
from dashboard.handover.period import Period
from dashboard.operations.campaigns import Campaigns, final_steps, of_campaigns
from dashboard.quality.flags import Flag
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table

MOST_ROWS = 5000


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file behind a number: its DID (its name while it has none), its run, and when it happened."""

    file: str
    run: int | None
    file_index: int | None
    at: float | None
    size_bytes: int | None
    what: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a hand-over is about: the campaigns that count, the streams of the buffer, the time."""

    campaigns: Campaigns
    streams: tuple[str, ...]
    period: Period


@dataclass(frozen=True, slots=True)
class Question:
    """A number of the hand-over: what it counts, in words, and how."""

    name: str
    words: str
    select: Callable[[Asked], sa.Select[Any]]


def _within(time: sa.ColumnElement[Any], period: Period) -> sa.ColumnElement[bool]:
    return sa.and_(time >= period.since, time < period.until)


def _task_columns(at: sa.ColumnElement[Any], what: sa.ColumnElement[Any] = task_table.c.message) -> list[sa.ColumnElement[Any]]:
    t = task_table.c
    return [t.input_did.label("file"), t.run, t.file_index, at.label("at"), t.size_bytes, what.label("what"), t.campaign_id]


def _tasks(asked: Asked, at: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    t = task_table.c
    return (
        sa.select(*_task_columns(at))
        .where(of_campaigns(asked.campaigns), t.step.in_(final_steps(asked.campaigns)), *conditions)
        .order_by(at)
    )


def _arrived(asked: Asked) -> sa.Select[Any]:
    f = file_table.c
    # All streams and states are named because they come before the time in the index.
    indexed = (f.stream.in_(asked.streams), f.state.in_([state.value for state in FileState]), _within(f.closed_at, asked.period))
    return _journal(f.closed_at).where(f.origin == "buffer", *indexed)


def _stopped(asked: Asked) -> sa.Select[Any]:
    f = file_table.c
    states = (FileState.QUARANTINED.value, FileState.CONFLICT.value, FileState.UNMATCHED.value)
    return _journal(f.found_at).where(f.state.in_(states), _within(f.found_at, asked.period))


def _journal(at: sa.ColumnElement[Any]) -> sa.Select[Any]:
    f = file_table.c
    name = sa.func.coalesce(f.did, f.name).label("file")
    nothing = sa.null().label("file_index")
    return sa.select(name, f.run, nothing, at.label("at"), f.size_bytes, f.reason.label("what")).order_by(at)


def _processed(asked: Asked) -> sa.Select[Any]:
    t = task_table.c
    return _tasks(asked, t.done_at, _within(t.done_at, asked.period), t.attempts > 0)


def _too_late(asked: Asked) -> sa.Select[Any]:
    return _processed(asked).where(task_table.c.done_at > task_table.c.deadline)


def _overdue(asked: Asked) -> sa.Select[Any]:
    t = task_table.c
    unprocessed = [state.value for state in TaskState if state not in (TaskState.DONE, TaskState.WAIVED)]
    indexed = (t.done_at.is_(None), t.state.in_(unprocessed), t.late.in_((False, True)), _within(t.deadline, asked.period))
    return _tasks(asked, t.deadline, *indexed)


def failed_in(asked: Asked) -> Sequence[sa.ColumnElement[bool]]:
    """Which attempts failed in the period."""
    a = attempt_table.c
    return (of_campaigns(asked.campaigns), a.error_class.is_not(None), _within(a.ended_at, asked.period))


def _failed(asked: Asked) -> sa.Select[Any]:
    a = attempt_table.c
    return (
        sa.select(*_task_columns(a.ended_at, a.message))
        .join_from(attempt_table, task_table, task_table.c.id == a.task_id)
        .where(*failed_in(asked))
        .order_by(a.ended_at)
    )


def _parked(asked: Asked) -> sa.Select[Any]:
    t = task_table.c
    parked = (of_campaigns(asked.campaigns), t.state == TaskState.PARKED, t.late.in_((False, True)), t.done_at.is_(None))
    return sa.select(*_task_columns(t.ready_at)).where(*parked).order_by(t.id)


def _judged_as(asked: Asked, flags: Sequence[Flag]) -> sa.Select[Any]:
    d = result_table.c
    # Not the bare column: SQLite would take the key, which begins with the campaign, instead of the time.
    of_names = d.campaign.concat("").in_(sorted({campaign.name for campaign in asked.campaigns.values()}))
    return (
        sa.select(
            d.input_did.label("file"), d.run, d.file_index, d.received_at.label("at"), sa.null().label("size_bytes"), d.stage.label("what")
        )
        .where(d.shown, of_names, d.flag.in_([int(flag) for flag in flags]), _within(d.received_at, asked.period))
        .order_by(d.received_at)
    )


QUESTIONS: Mapping[str, Question] = {
    question.name: question
    for question in (
        Question("arrived", "raw files closed and found", _arrived),
        Question("processed", "files processed", _processed),
        Question("too-late", "files processed after their deadline", _too_late),
        Question("overdue", "files whose deadline passed and that are not processed yet", _overdue),
        Question("failed", "attempts that failed", _failed),
        Question("parked", "tasks parked now", _parked),
        Question("judged", "files judged by the data-quality limits", partial(_judged_as, flags=(Flag.GOOD, Flag.MEDIUM, Flag.BAD))),
        Question("not-good", "files judged medium or bad", partial(_judged_as, flags=(Flag.MEDIUM, Flag.BAD))),
        Question("stopped", "files found that wait for a person: quarantined, in conflict, of no stream", _stopped),
    )
}


def count(connection: sa.Connection, question: Question, asked: Asked) -> tuple[int, int]:
    """How many rows there are, and their bytes."""
    rows = question.select(asked).order_by(None).subquery()
    number, size = connection.execute(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(rows.c.size_bytes), 0))).one()
    return int(number), int(size)


def rows_of(connection: sa.Connection, question: Question, asked: Asked, limit: int = MOST_ROWS) -> list[FileRow]:
    """The rows themselves, oldest first."""
    return [FileRow(*row[: len(fields(FileRow))]) for row in connection.execute(question.select(asked).limit(limit))]
