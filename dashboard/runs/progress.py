"""What happened to the files of a run, file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import count_table, task_table
from campaign.states import TaskState
from dashboard.dqm.tables import dqm_table
from dashboard.operations.campaigns import CountedCampaign
from declare_daemon.journal.tables import file_table
from dune_prompt.records import split_did


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of a run as one campaign sees it. `state` is that of the step it is at, `judged` whether it has a data-quality record."""

    input_did: str
    name: str
    file_index: int | None
    state: str
    late: bool
    message: str | None
    judged: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The run numbers before and after, of those anything is known about."""

    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The raw files of a run in the journal: how many, how large, and when the last one was closed."""

    files: int
    size_bytes: int
    last_closed_at: float | None


def read_files(connection: sa.Connection, campaign: CountedCampaign, run: int) -> list[RunFile]:
    """The files of a run in the order they were written."""
    t, d = task_table.c, dqm_table.c
    judged = set(
        connection.execute(sa.select(d.input_did).where(d.run == run, d.campaign == campaign.name, d.version == campaign.version)).scalars()
    )
    statement = sa.select(t.input_did, t.step, t.state, t.late, t.file_index, t.message).where(t.run == run, t.campaign_id == campaign.id)
    steps: dict[str, list[Any]] = {}
    for row in connection.execute(statement):
        steps.setdefault(row.input_did, []).append(row)
    files = []
    for did, rows in steps.items():
        row = _current(rows, campaign.final_step)
        files.append(RunFile(did, split_did(did)[1], row.file_index, row.state, bool(row.late), row.message, did in judged))
    return sorted(files, key=lambda file: (file.file_index is None, file.file_index, file.name))


def _current(rows: list[Any], final_step: str) -> Any:
    """The step a file is at: the one that is neither done nor blocked; without one, the last."""
    moving = [row for row in rows if row.state not in (TaskState.DONE, TaskState.BLOCKED)]
    return moving[0] if moving else next(row for row in rows if row.step == final_step)


def read_neighbours(connection: sa.Connection, run: int) -> Neighbours:
    """The runs with tasks or records next to `run`."""
    columns = (count_table.c.run, dqm_table.c.run)
    before = [connection.execute(sa.select(sa.func.max(c)).where(c < run)).scalar() for c in columns]
    after = [connection.execute(sa.select(sa.func.min(c)).where(c > run)).scalar() for c in columns]
    return Neighbours(max((n for n in before if n is not None), default=None), min((n for n in after if n is not None), default=None))


def read_arrivals(connection: sa.Connection, run: int) -> Arrivals:
    """What the journal knows of the raw files of a run."""
    f = file_table.c
    statement = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(f.size_bytes), 0), sa.func.max(f.closed_at))
    files, size_bytes, last = connection.execute(statement.where(f.run == run, f.origin == "buffer")).one()
    return Arrivals(files, int(size_bytes), last)


def campaigns_with(connection: sa.Connection, run: int, campaigns: Mapping[int, CountedCampaign]) -> list[CountedCampaign]:
    """The campaigns that have tasks or data-quality records of a run, newest first."""
    c, d = count_table.c, dqm_table.c
    with_tasks = set(connection.execute(sa.select(c.campaign_id).where(c.run == run, c.tasks > 0).distinct()).scalars())
    with_records = {tuple(row) for row in connection.execute(sa.select(d.campaign, d.version).where(d.run == run).distinct())}
    return [campaign for campaign in campaigns.values() if campaign.id in with_tasks or (campaign.name, campaign.version) in with_records]
