"""Files that a version covers and that have no tasks: made again from the journal, done where the catalogue has their child."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from campaign.installation import ActiveCampaign, Installation, Write
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import CHUNK, Task
from campaign.reconcile.finding import Finding
from campaign.reconcile.moving import to_done
from campaign.states import TaskState
from campaign.versions import coverage
from campaign.versions.inputs import done_in, files_of_run, make_tasks
from declare_daemon.catalogs import MetadataCatalog
from declare_daemon.journal import JournalFile, all_of_stream
from declare_daemon.journal.tables import intake_table

WHAT = "file without tasks"


def check(
    installation: Installation,
    catalog: MetadataCatalog,
    write: Write,
    campaign: ActiveCampaign,
    run: int | None,
    now: float,
    *,
    change: bool,
) -> Iterator[Finding]:
    """Find, and with `change` make, the tasks that are missing of a version.

    Raises:
        TransientError: the catalogue is away.
    """
    after = 0
    while True:
        with installation.store.read() as connection:
            if run is None:
                files = all_of_stream(connection, campaign.settings.stream, after, CHUNK)
                following = files[-1].id if files else None
            else:
                files, following = files_of_run(connection, campaign.settings.stream, run), None
            missing = _missing(connection, campaign, files)
        if missing:
            done = done_in(catalog, campaign, [str(file.did) for file in missing])
            if change:
                with write() as connection:
                    _make(connection, installation, campaign, _missing(connection, campaign, missing), done, now)
            for file in missing:
                yield Finding(WHAT, str(file.did), "tasks made, done already" if file.did in done else "tasks made", change)
        if following is None:
            return
        after = following


def _missing(connection: sa.Connection, campaign: ActiveCampaign, files: list[JournalFile]) -> list[JournalFile]:
    """The files that the version covers and that lack a task; those that the engine is about to take in are left to it."""
    covered = coverage.load(connection, {campaign.id: campaign})[campaign.id]
    mine = {file.id: file for file in files if covered.covers_file(file)}
    for ids in ledger_tasks.chunks(sorted(mine)):
        for file_id in connection.execute(sa.select(intake_table.c.file_id).where(intake_table.c.file_id.in_(ids))).scalars():
            del mine[file_id]
    c = task_table.c
    steps: dict[str, int] = {}
    for dids in ledger_tasks.chunks(sorted(str(file.did) for file in mine.values())):
        known = (
            sa.select(c.input_did, sa.func.count().label("tasks"))
            .where(c.campaign_id == campaign.id, c.input_did.in_(dids))
            .group_by(c.input_did)
        )
        steps |= {row.input_did: row.tasks for row in connection.execute(known)}
    return [file for file in mine.values() if steps.get(str(file.did), 0) < len(campaign.steps)]


def _tasks_of(connection: sa.Connection, campaign: ActiveCampaign, dids: list[str]) -> dict[str, dict[str, Task]]:
    c = task_table.c
    found: dict[str, dict[str, Task]] = {}
    for part in ledger_tasks.chunks(sorted(dids)):
        for task in ledger_tasks.select(connection, c.campaign_id == campaign.id, c.input_did.in_(part)):
            found.setdefault(task.input_did, {})[task.step] = task
    return found


def _make(
    connection: sa.Connection, installation: Installation, campaign: ActiveCampaign, files: list[JournalFile], done: set[str], now: float
) -> None:
    dids = [str(file.did) for file in files]
    before = _tasks_of(connection, campaign, dids)
    make_tasks(connection, installation.site, campaign, files, done, now)
    if not before:
        return
    finished: list[Task] = []
    for did, tasks in _tasks_of(connection, campaign, list(before)).items():
        old = before[did]
        # What the input committed is kept under the id that its tasks had.
        input_id = next(iter(old.values())).input_id
        same = (task_table.c.campaign_id == campaign.id, task_table.c.input_did == did)
        connection.execute(sa.update(task_table).where(*same).values(input_id=input_id))
        # A step that others have followed was done.
        names = list(campaign.steps)
        followed = [index for index, name in enumerate(names) if name in old and old[name].state is not TaskState.BLOCKED]
        passed = names[: max(followed)] if followed else []
        finished += [tasks[name] for name in passed if name not in old and tasks[name].state is not TaskState.DONE]
    to_done(connection, finished, "the step after it has begun", now)
