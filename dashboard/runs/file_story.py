"""Everything known about one raw file: its row in the journal, its tasks and attempts, its events, its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table, campaign_table, task_table
from dashboard.dqm.tables import dqm_table
from declare_daemon.journal import JournalFile, files_by_did
from declare_daemon.journal.tables import step_table
from dune_prompt.store import event_table

MOST_EVENTS = 500


@dataclass(frozen=True, slots=True)
class FileStory:
    """What the page of a file shows. `tasks`, `attempts`, `events`, `records` are rows with the columns of their tables."""

    did: str
    run: int | None
    journal: JournalFile | None
    declared_in: Sequence[Any]
    tasks: Sequence[Any]
    attempts: Sequence[Any]
    events: Sequence[Any]
    records: Sequence[Any]


def read_story(connection: sa.Connection, did: str) -> FileStory | None:
    """The story of the file `did`; None when neither ledger nor journal knows it."""
    t, a, e = task_table.c, attempt_table.c, event_table.c
    journal = files_by_did(connection, [did]).get(did)
    named = sa.select(task_table, campaign_table.c.name.label("campaign"), campaign_table.c.version).join_from(task_table, campaign_table)
    # The campaigns are named, because they come first in the index.
    mine = (t.campaign_id.in_(sa.select(campaign_table.c.id)), t.input_did == did)
    tasks = connection.execute(named.where(*mine).order_by(t.campaign_id, t.id)).all()
    if journal is None and not tasks:
        return None
    attempts = connection.execute(sa.select(attempt_table).where(a.task_id.in_([task.id for task in tasks])).order_by(a.id.desc())).all()
    declared = sa.select(step_table).where(step_table.c.file_id == (journal.id if journal else None)).order_by(step_table.c.done_at)
    subjects = [did, *(f"task:{task.id}" for task in tasks), *(f"attempt:{attempt.id}" for attempt in attempts)]
    if journal is not None:
        subjects.append(journal.name)
    events = connection.execute(sa.select(event_table).where(e.subject.in_(subjects)).order_by(e.at.desc(), e.id.desc()).limit(MOST_EVENTS))
    run = tasks[0].run if tasks else journal.run if journal else None
    records = connection.execute(sa.select(dqm_table).where(dqm_table.c.run == run, dqm_table.c.input_did == did).order_by(dqm_table.c.id))
    return FileStory(did, run, journal, connection.execute(declared).all(), tasks, attempts, events.all(), records.all())
