"""The tasks that wait for a person: by class of failure with the end of the newest log, and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, task_table
from campaign.places import job_dir
from campaign.states import TaskState
from dashboard.runs.file.job_files import read_tail
from dune_prompt.errors import TransientError

A_PAGE = 100
EXCERPT_BYTES = 4096
EXCERPT_LINES = 8
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ParkedChoice:
    """The state of the page, all of it in the address; None: everything. `after`: the id of the last task of the page before."""

    error_class: str | None = None
    campaign: str | None = None
    run: int | None = None
    after: int | None = None

    @property
    def filtered(self) -> bool:
        return replace(self, after=None) != ParkedChoice()

    def link(self, **changes: Any) -> str:
        """The address with some things chosen differently; other tasks begin with the first page."""
        chosen = replace(self, **({"after": None} | changes))
        values = {"class": chosen.error_class, "campaign": chosen.campaign, "run": chosen.run, "after": chosen.after}
        query = urlencode({name: value for name, value in values.items() if value is not None})
        return "/parked" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class ParkedTask:
    """A parked task, and its last attempt (None: it never had one)."""

    id: int
    input_did: str
    run: int
    file_index: int | None
    campaign: str
    version: str
    step: str
    late: bool
    deadline: float
    failures: int
    error_class: str | None
    message: str | None
    attempt: str | None
    host: str | None
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class ParkedClass:
    """The tasks that failed in one way. `excerpt`: the end of the log of `newest`; None when there is no log."""

    error_class: str | None
    tasks: int
    runs: int
    late: int
    newest: ParkedTask
    excerpt: str | None


@dataclass(frozen=True, slots=True)
class ParkedPage:
    """The page. `next`: where the next one begins; None: this is the last. `campaigns` have parked tasks."""

    classes: list[ParkedClass]
    tasks: list[ParkedTask]
    fitting: int
    total: int
    next: int | None
    campaigns: list[str]


_PARKED = (task_table.c.done_at.is_(None), task_table.c.state == TaskState.PARKED)


def read_page(connection: sa.Connection, workspace: Path, choice: ParkedChoice) -> ParkedPage:
    """The classes of all parked tasks that fit but for the class, and a page of those that fit."""
    t, k = task_table.c, campaign_table.c
    but_class = _fitting(replace(choice, error_class=None, after=None))
    fitting = _fitting(replace(choice, after=None))
    joined = task_table.join(campaign_table, k.id == t.campaign_id)

    def number(*conditions: sa.ColumnElement[bool]) -> int:
        return int(connection.execute(sa.select(sa.func.count()).select_from(joined).where(*conditions)).scalar_one())

    found = _tasks(connection, *_fitting(choice), limit=A_PAGE + 1)
    names = sa.select(k.name).select_from(joined).where(*_PARKED).distinct().order_by(k.name)
    return ParkedPage(
        classes=_classes(connection, workspace, but_class),
        tasks=found[:A_PAGE],
        fitting=number(*fitting),
        total=number(*_PARKED),
        next=found[A_PAGE - 1].id if len(found) > A_PAGE else None,
        campaigns=list(connection.execute(names).scalars()),
    )


def _fitting(choice: ParkedChoice) -> list[sa.ColumnElement[bool]]:
    t, k = task_table.c, campaign_table.c
    conditions: list[sa.ColumnElement[bool]] = [*_PARKED]
    if choice.error_class is not None:
        conditions.append(t.error_class.is_(None) if choice.error_class == UNKNOWN else t.error_class == choice.error_class)
    if choice.campaign is not None:
        conditions.append(k.name == choice.campaign)
    if choice.run is not None:
        conditions.append(t.run == choice.run)
    if choice.after is not None:
        conditions.append(t.id < choice.after)
    return conditions


def _classes(connection: sa.Connection, workspace: Path, fitting: Sequence[sa.ColumnElement[bool]]) -> list[ParkedClass]:
    t, k = task_table.c, campaign_table.c
    tasks = sa.func.count()
    statement = (
        sa.select(t.error_class, tasks, sa.func.count(t.run.distinct()), sa.func.sum(sa.case((t.late, 1), else_=0)))
        .select_from(task_table.join(campaign_table, k.id == t.campaign_id))
        .where(*fitting)
        .group_by(t.error_class)
        .order_by(tasks.desc(), t.error_class)
    )
    classes = []
    for error_class, number, runs, late in connection.execute(statement).all():
        of_class = t.error_class.is_(None) if error_class is None else t.error_class == error_class
        newest = _newest(connection, *fitting, of_class)
        excerpt = _excerpt(job_dir(workspace, newest.attempt)) if newest.attempt else None
        classes.append(ParkedClass(error_class, number, runs, int(late), newest, excerpt))
    return classes


def _select() -> sa.Select[Any]:
    t, k, a = task_table.c, campaign_table.c, attempt_table.c
    # Attempt ids are ULIDs: the greatest is the latest.
    every = attempt_table.alias()
    latest = sa.select(sa.func.max(every.c.id)).where(every.c.task_id == t.id).scalar_subquery()
    return sa.select(
        t.id,
        t.input_did,
        t.run,
        t.file_index,
        k.name,
        k.version,
        t.step,
        t.late,
        t.deadline,
        t.failures,
        t.error_class,
        t.message,
        a.id.label("attempt"),
        a.host,
        a.ended_at,
    ).select_from(task_table.join(campaign_table, k.id == t.campaign_id).outerjoin(attempt_table, a.id == latest))


def _tasks(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int) -> list[ParkedTask]:
    statement = _select().where(*conditions).order_by(task_table.c.id.desc()).limit(limit)
    return [ParkedTask(*row) for row in connection.execute(statement)]


def _newest(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> ParkedTask:
    """The task whose last attempt is the latest of all."""
    a = attempt_table.c
    statement = _select().where(*conditions).order_by(a.id.is_(None), a.id.desc(), task_table.c.id.desc()).limit(1)
    return ParkedTask(*connection.execute(statement).one())


def _excerpt(folder: Path) -> str | None:
    """The last lines of a log; a log that cannot be read now is none."""
    try:
        tail = read_tail(folder, EXCERPT_BYTES)
    except TransientError:
        return None
    lines = tail.text.splitlines() if tail else []
    return "\n".join(lines[-EXCERPT_LINES:]) or None
