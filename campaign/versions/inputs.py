"""Makes the tasks of a version for given raw files, with the obligations that keep them in the buffer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
import structlog

from campaign.deadlines import deadline_of
from campaign.definition import FINAL_STAGE
from campaign.installation import ActiveCampaign, Installation, Write
from campaign.layout import steps_of
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import CHUNK, NewTask, chunks
from campaign.states import TaskState
from campaign.versions import coverage
from declare_daemon.catalogs import Catalogs, MetadataCatalog, open_catalogs
from declare_daemon.journal import JournalFile, file_obligations, meet_obligations
from declare_daemon.journal.engine_side import KNOWN
from declare_daemon.journal.files import fetch, select_files
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import TransientError
from dune_prompt.settings import Site

log = structlog.get_logger(__name__)


@contextmanager
def catalogs_of(installation: Installation) -> Iterator[Catalogs]:
    """Catalogues for a command: those of the installation are in the hands of the engine's step, and each is for one thread only."""
    catalogs = open_catalogs(installation.site)
    try:
        yield catalogs
    finally:
        catalogs.close()


def files_of_run(connection: sa.Connection, stream: str, run: int) -> list[JournalFile]:
    """The raw files of a run that the journal has verified once, also those that have left the buffer, in order of id."""
    c = file_table.c
    query = select_files().where(c.run == run, c.stream == stream, c.origin == "buffer", c.state.in_(KNOWN), c.did.is_not(None))
    return fetch(connection, query.order_by(c.id))


def with_tasks(connection: sa.Connection, campaign_id: int, dids: Collection[str]) -> set[str]:
    """Which of these files have tasks of a version."""
    c = task_table.c
    found: set[str] = set()
    for part in chunks(sorted(dids)):
        found |= set(connection.execute(sa.select(c.input_did).where(c.campaign_id == campaign_id, c.input_did.in_(part))).scalars())
    return found


def take_in_run(installation: Installation, write: Write, campaign: ActiveCampaign, run: int, now: float) -> int:
    """Make the tasks of what a version covers of a run and has none of; how many inputs are new.

    With the catalogue away none of them is known to be done; the registrar will find the child that is there already.
    """
    with installation.store.read() as connection:
        covered = coverage.load(connection, {campaign.id: campaign})[campaign.id]
        files = [file for file in files_of_run(connection, campaign.settings.stream, run) if covered.covers_file(file)]
        known = with_tasks(connection, campaign.id, [str(file.did) for file in files])
    new = [file for file in files if file.did not in known]
    if not new:
        return 0
    done: set[str] = set()
    with catalogs_of(installation) as catalogs:
        try:
            done = done_in(catalogs.truth, campaign, [str(file.did) for file in new])
        except TransientError as error:
            log.warning("catalogue away, taking a run in without it", run=run, error=str(error))
    with write() as connection:
        make_tasks(connection, installation.site, campaign, new, done, now)
    return len(new)


def done_in(catalog: MetadataCatalog, campaign: ActiveCampaign, dids: Sequence[str]) -> set[str]:
    """Which of these files have their final child in the catalogue.

    Raises:
        TransientError: the catalogue is away.
    """
    found: set[str] = set()
    for start in range(0, len(dids), CHUNK):
        children = catalog.children_of(dids[start : start + CHUNK], campaign.settings.made_by)
        found |= {did for did, names in children.items() if names}
    return found


def make_tasks(
    connection: sa.Connection,
    site: Site,
    campaign: ActiveCampaign,
    files: Sequence[JournalFile],
    done: Collection[str],
    now: float,
) -> int:
    """Make the tasks of these inputs that are not there yet; how many are new. Those in `done` have their final child already."""
    settings = campaign.settings
    stream = site.stream(settings.stream)
    lifetime = stream.lifetime if stream else 0.0
    tasks = [
        NewTask(
            campaign_id=campaign.id,
            input_did=file.did,
            step=step.name,
            state=TaskState.DONE if file.did in done else TaskState.BLOCKED if step.after else TaskState.READY,
            run=file.run or 0,
            file_index=file.file_index,
            size_bytes=file.size_bytes or 0,
            deadline=deadline_of(file.closed_at or file.found_at, lifetime),
            allowed_failures=settings.retries + 1,
            closed_at=file.closed_at,
            declared_at=file.declared_at,
        )
        for file in files
        if file.did is not None
        for step in steps_of(settings.layout)
    ]
    if settings.required:
        kept = [str(file.did) for file in files if file.did is not None]
        file_obligations(connection, [(did, settings.campaign, settings.version, FINAL_STAGE) for did in kept])
        meet_obligations(connection, [(did, settings.campaign, settings.version) for did in kept if did in done], now)
    return ledger_tasks.create(connection, tasks, now)
