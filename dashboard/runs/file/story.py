"""Everything known about one file: its row in the journal, its tasks and attempts, its chain of outputs, its records, its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.layout import ALL_STAGES
from campaign.ledger.tables import attempt_table, campaign_table, commit_table, task_table
from campaign.places import job_dir
from campaign.provenance import Provenance, trace
from dashboard.dqm.tables import result_table, run_table
from dashboard.runs.file.catalogues import FileRecords, read_records
from dashboard.runs.file.chain import Chain, read_chains
from dashboard.runs.file.job_files import read_report
from declare_daemon.journal import JournalFile, files_by_did
from declare_daemon.journal.files import files_by_name
from declare_daemon.journal.tables import file_table
from dune_prompt.records import Report
from dune_prompt.settings import Site
from dune_prompt.store import event_table

MOST_EVENTS = 500
MOST_REPORTS = 20


@dataclass(frozen=True, slots=True)
class FileStory:
    """What the page of a file shows. `tasks`, `attempts`, `events`, `results` are rows; an output has none but events.

    `counts`: for each attempt the stages it counts for; `reports`: of attempts, or what is wrong with them, in words; `made`: how an output
    was made.
    """

    did: str
    run: int | None
    journal: JournalFile | None
    tasks: Sequence[Any]
    attempts: Sequence[Any]
    counts: Mapping[str, Sequence[str]]
    reports: Mapping[str, Report | str]
    chains: Sequence[Chain]
    made: Provenance | None
    catalogues: Sequence[FileRecords]
    results: Sequence[Any]
    events: Sequence[Any]

    @property
    def name(self) -> str:
        return self.did.rpartition(":")[2]

    @property
    def namespace(self) -> str:
        return self.did.rpartition(":")[0]

    @property
    def is_output(self) -> bool:
        return self.journal is not None and self.journal.origin == "outbox"


def find_did(connection: sa.Connection, did_or_name: str) -> str | None:
    """The DID of a file that was asked for by its name; None when the journal has no such name."""
    for origin in ("buffer", "outbox"):
        file = files_by_name(connection, origin, [did_or_name]).get(did_or_name)
        if file is not None and file.did is not None:
            return file.did
    return None


def read_story(connection: sa.Connection, site: Site, did: str) -> FileStory | None:
    """The story of the file `did`; None when neither ledger nor journal knows it."""
    journal = files_by_did(connection, [did]).get(did)
    tasks = _tasks(connection, did)
    if journal is None and not tasks:
        return None
    a = attempt_table.c
    attempts = connection.execute(sa.select(attempt_table).where(a.task_id.in_([task.id for task in tasks])).order_by(a.id.desc())).all()
    derived = _derived(connection, attempts)
    run = tasks[0].run if tasks else journal.run if journal else None
    results = _results(connection, did, run, tasks)
    is_output = journal is not None and journal.origin == "outbox"
    reports = {attempt.id: read_report(job_dir(site.workspace, attempt.id)) for attempt in attempts[:MOST_REPORTS]}
    return FileStory(
        did=did,
        run=run,
        journal=journal,
        tasks=tasks,
        attempts=attempts,
        counts=_counts(connection, tasks),
        reports={attempt: report for attempt, report in reports.items() if report is not None},
        chains=read_chains(connection, tasks, attempts, derived, results),
        made=trace(connection, site, did) if is_output else None,
        catalogues=read_records(connection, [*([journal] if journal else []), *derived], [settings.kind for settings in site.catalogs]),
        results=results,
        events=_events(connection, did, journal, tasks, attempts),
    )


def _tasks(connection: sa.Connection, did: str) -> Sequence[Any]:
    t = task_table.c
    named = sa.select(task_table, campaign_table.c.name.label("campaign"), campaign_table.c.version).join_from(task_table, campaign_table)
    # The campaigns are named, because they come first in the index.
    mine = (t.campaign_id.in_(sa.select(campaign_table.c.id)), t.input_did == did)
    return connection.execute(named.where(*mine).order_by(t.campaign_id.desc(), t.id)).all()


def _derived(connection: sa.Connection, attempts: Sequence[Any]) -> list[JournalFile]:
    """The outputs of these attempts that the journal knows, in the order they were handed over."""
    f = file_table.c
    made = (f.attempt.in_([attempt.id for attempt in attempts]), f.origin == "outbox", f.did.is_not(None))
    dids = connection.execute(sa.select(f.did).where(*made).order_by(f.id)).scalars().all()
    found = files_by_did(connection, dids)
    return [found[did] for did in dids]


def _results(connection: sa.Connection, did: str, run: int | None, tasks: Sequence[Any]) -> list[Any]:
    """The data-quality records of the file, of all attempts, the newest first. The index needs to know whose they are."""
    d, r = result_table.c, run_table.c
    names = ("id", "campaign", "version", "attempt", "shown", "run", "flag", "made_at", "received_at", "payload", "pictures_missing")
    mine = sa.select(*(d[name] for name in names)).where(d.input_did == did)
    whose = {(task.campaign, task.version) for task in tasks}
    whose |= {(row.campaign, row.version) for row in connection.execute(sa.select(r.campaign, r.version).where(r.run == run))}
    found = [row for campaign, version in whose for row in connection.execute(mine.where(d.campaign == campaign, d.version == version))]
    return sorted(found, key=lambda row: -row.id)


def _counts(connection: sa.Connection, tasks: Sequence[Any]) -> dict[str, list[str]]:
    """The stages that each attempt counts for, in their order."""
    c = commit_table.c
    inputs = {task.input_id for task in tasks}
    found: dict[str, list[str]] = {}
    for attempt, stage in connection.execute(sa.select(c.attempt_id, c.stage).where(c.input_id.in_(inputs))):
        found.setdefault(attempt, []).append(stage)
    return {attempt: sorted(stages, key=ALL_STAGES.index) for attempt, stages in found.items()}


def _events(
    connection: sa.Connection, did: str, journal: JournalFile | None, tasks: Sequence[Any], attempts: Sequence[Any]
) -> Sequence[Any]:
    e = event_table.c
    subjects = [did, *(f"task:{task.id}" for task in tasks), *(f"attempt:{attempt.id}" for attempt in attempts)]
    if journal is not None:
        subjects.append(journal.name)
    statement = sa.select(event_table).where(e.subject.in_(subjects)).order_by(e.at.desc(), e.id.desc()).limit(MOST_EVENTS)
    return connection.execute(statement).all()
