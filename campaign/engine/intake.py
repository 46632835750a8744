"""Takes new work into the ledger: verified files of the journal, less what the catalogue says is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
import structlog

from campaign.definition import FINAL_STAGE
from campaign.installation import ActiveCampaign, Installation, Write
from campaign.layout import steps_of
from campaign.ledger import campaigns as ledger_campaigns
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tasks import NewTask
from campaign.states import TaskState
from declare_daemon.journal import JournalFile, all_of_stream, file_obligations, meet_obligations, take_in, taken_in
from dune_prompt.errors import TransientError

log = structlog.get_logger(__name__)

BATCH = 500


def take_in_new(installation: Installation, write: Write, now: float) -> int:
    """Make tasks of the files the journal has verified since the last time; how many tasks are new."""
    new = 0
    for stream in sorted({campaign.settings.stream for campaign in installation.campaigns.values()}):
        campaigns = [campaign for campaign in installation.campaigns.values() if campaign.settings.stream == stream]
        while True:
            with installation.store.read() as connection:
                files = take_in(connection, stream, BATCH)
            if not files:
                break
            done = _done(installation, campaigns, files)
            with write() as connection:
                new += _create(installation, connection, campaigns, files, done, now)
                taken_in(connection, [file.id for file in files])
            if len(files) < BATCH:
                break
    return new


def take_in_known(installation: Installation, write: Write, campaign: ActiveCampaign, now: float) -> int:
    """Make tasks of all files of the stream that were there before the campaign; how many tasks are new."""
    new, after = 0, 0
    while True:
        with installation.store.read() as connection:
            files = all_of_stream(connection, campaign.settings.stream, after, BATCH)
        if not files:
            with write() as connection:
                ledger_campaigns.has_taken_in(connection, campaign.id, now)
            return new
        after = files[-1].id
        done = _done(installation, [campaign], files)
        with write() as connection:
            new += _create(installation, connection, [campaign], files, done, now)


def _done(installation: Installation, campaigns: Iterable[ActiveCampaign], files: Sequence[JournalFile]) -> set[tuple[int, str]]:
    """Which (campaign, input) have their final child in the catalogue. When it is away nothing is known to be done: the work goes on,
    and the registrar finds the child that is there already."""
    dids = [file.did for file in files if file.did is not None]
    catalog = installation.catalogs.truth
    found: set[tuple[int, str]] = set()
    for campaign in campaigns:
        try:
            children = catalog.children_of(dids, campaign.settings.made_by)
        except TransientError as error:
            log.warning("catalogue away, taking new work in without it", catalogue=catalog.name, error=str(error))
            return set()
        found |= {(campaign.id, did) for did, names in children.items() if names}
    return found


def _create(
    installation: Installation,
    connection: sa.Connection,
    campaigns: Sequence[ActiveCampaign],
    files: Sequence[JournalFile],
    done: set[tuple[int, str]],
    now: float,
) -> int:
    tasks: list[NewTask] = []
    obligations: list[tuple[str, str, str, str]] = []
    met: list[tuple[str, str, str]] = []
    for campaign in campaigns:
        settings = campaign.settings
        stream = installation.site.stream(settings.stream)
        lifetime = stream.lifetime if stream else 0.0
        for file in files:
            run = file.run or 0
            if file.did is None or not settings.inputs.covers(run, file.metadata):
                continue
            is_done = (campaign.id, file.did) in done
            for step in steps_of(settings.layout):
                state = TaskState.DONE if is_done else TaskState.BLOCKED if step.after else TaskState.READY
                tasks.append(
                    NewTask(
                        campaign_id=campaign.id,
                        input_did=file.did,
                        step=step.name,
                        state=state,
                        run=run,
                        file_index=file.file_index,
                        size_bytes=file.size_bytes or 0,
                        deadline=(file.closed_at or file.found_at) + lifetime,
                        allowed_failures=settings.retries + 1,
                        closed_at=file.closed_at,
                        declared_at=file.declared_at,
                    )
                )
            if settings.required:
                obligations.append((file.did, settings.campaign, settings.version, FINAL_STAGE))
                met += [(file.did, settings.campaign, settings.version)] if is_done else []
    file_obligations(connection, obligations)
    # A file without any obligation would be kept for ever, as one that no campaign has asked for yet.
    meet_obligations(connection, met, now)
    return ledger_tasks.create(connection, tasks, now)
