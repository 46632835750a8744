"""Takes the derived files of a version out of the catalogues' queries: replaced by a second pass, or of a dropped version.

Asked for by a row of the ledger, then looked up, retired, and looked up again: it may be repeated. Never touches a raw file. It calls
catalogues, so it belongs to a command of an operator, not into the engine's step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.installation import Write
from campaign.layout import last_step
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import ROOM
from campaign.ledger.versions import Redo, Version
from campaign.states import OPEN, TaskState
from declare_daemon.catalogs import Catalogs, MetadataCatalog
from declare_daemon.journal.files import fetch, select_files
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConflictError, TransientError
from dune_prompt.records import MadeBy
from dune_prompt.store import Event, Store, record_events
from stages.stage import STAGES

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Retirement:
    """What a second pass makes superfluous: the derived files of `old` from `inputs`, once nothing stands in the way (`waits_for`)."""

    redo: Redo
    version: Version
    old: tuple[Version, ...]
    inputs: tuple[str, ...]
    waits_for: str | None


def due(connection: sa.Connection, campaign_ids: Sequence[int]) -> list[Retirement]:
    """The second passes by these versions whose older results are to be retired and are not yet."""
    return [
        _retirement(connection, redo)
        for redo in ledger_versions.redos(connection)
        if redo.retire_old and redo.retired_at is None and redo.campaign_id in campaign_ids
    ]


def _retirement(connection: sa.Connection, redo: Redo) -> Retirement:
    known = ledger_versions.versions(connection)
    version = next(item for item in known if item.id == redo.campaign_id)
    old = tuple(item for item in known if item.name == version.name and item.id < version.id)
    c = task_table.c
    states = sa.select(c.campaign_id, c.state, c.input_did).where(c.run == redo.run, c.campaign_id.in_([version.id, *(v.id for v in old)]))
    rows = connection.execute(states.where(c.step == last_step(version.layout))).all()
    inputs = tuple(sorted(row.input_did for row in rows if row.campaign_id == version.id and row.state == TaskState.DONE))
    unfinished = sum(row.campaign_id == version.id and row.state not in (TaskState.DONE, TaskState.WAIVED) for row in rows)
    working = [
        item.version
        for item in old
        if connection.execute(sa.select(c.id).where(c.run == redo.run, c.campaign_id == item.id, c.state.in_(OPEN)).limit(1)).first()
    ]
    waits_for = None
    if unfinished:
        waits_for = f"{unfinished} files of run {redo.run} that version {version.version} has not processed yet"
    elif not inputs:
        waits_for = f"version {version.version}: it has processed no file of run {redo.run}"
    elif working:
        waits_for = f"version {', '.join(working)}, which still works on run {redo.run}"
    return Retirement(redo, version, old, inputs, waits_for)


def retire(store: Store, catalogs: Catalogs, write: Write, retirement: Retirement, now: float, by: str) -> list[str]:
    """Retire what `retirement` names in every metadata catalogue; the DIDs.

    Raises:
        TransientError: a catalogue is away, or does not say that it has done so; nothing is noted as done, call it again.
        ConflictError: a file to be retired is none of the version's; nothing was retired.
    """
    redo, version = retirement.redo, retirement.version
    dids = not_retired(catalogs, derived(store, catalogs, retirement.old, retirement.inputs))
    retire_files(catalogs, retirement.old, dids)
    note(write, dids, now, by, f"run {redo.run} was processed again by {version.name} {version.version}")
    with write() as connection:
        ledger_versions.redo_is(connection, redo.campaign_id, redo.run, retired_at=now)
    return dids


def derived(store: Store, catalogs: Catalogs, versions: Sequence[Version], inputs: Sequence[str]) -> list[str]:
    """The files that `versions` made of these raw files: what the catalogues call their children, and what the journal knows besides.

    Raises:
        TransientError: a catalogue is away.
    """
    found: set[str] = set()
    for catalog in _metadata_of(catalogs):
        for version in versions:
            for stage in STAGES:
                for start in range(0, len(inputs), _BATCH):
                    children = catalog.children_of(inputs[start : start + _BATCH], MadeBy(version.name, version.version, stage))
                    found |= {did for dids in children.values() for did in dids}
    return sorted(found | _journaled(store, versions, inputs))


def _journaled(store: Store, versions: Sequence[Version], inputs: Sequence[str]) -> set[str]:
    c = file_table.c
    made_by, raw = {(item.name, item.version) for item in versions}, set(inputs)
    with store.read() as connection:
        runs: set[int] = set()
        for start in range(0, len(inputs), _BATCH):
            runs |= set(connection.execute(sa.select(c.run).where(c.did.in_(inputs[start : start + _BATCH])).distinct()).scalars())
        query = select_files().where(c.origin == "outbox", c.run.in_(sorted(runs)), c.declared_at.is_not(None))
        files = fetch(connection, query)
    return {
        str(file.did)
        for file in files
        if (file.metadata.get("dune.campaign"), file.metadata.get("core.application.version")) in made_by and raw & set(file.parents)
    }


def retire_files(catalogs: Catalogs, versions: Sequence[Version], dids: Sequence[str]) -> None:
    """Retire derived files of `versions` in every metadata catalogue, after a look at what they are and before a look at the result.

    Raises:
        TransientError: a catalogue is away, or does not say that it has done so. ConflictError: a file is none of the versions'.
    """
    made_by = {(item.name, item.version) for item in versions}
    for catalog in _metadata_of(catalogs):
        for start in range(0, len(dids), _BATCH):
            part = dids[start : start + _BATCH]
            entries = catalog.look(part, with_metadata=True)
            for did, entry in entries.items():
                who = (entry.metadata.get("dune.campaign"), entry.metadata.get("core.application.version"))
                if not entry.retired and who not in made_by:
                    raise ConflictError(f"{did}: {catalog.name} says it was made by {who[0]} {who[1]}: not retired")
            catalog.retire([did for did, entry in entries.items() if not entry.retired])
            left = [did for did, entry in catalog.look(part).items() if not entry.retired]
            if left:
                raise TransientError(f"{catalog.name}: {len(left)} files are not retired yet, {left[0]} among them")


def not_retired(catalogs: Catalogs, dids: Sequence[str]) -> list[str]:
    """Those of these files that a catalogue still finds.

    Raises:
        TransientError: a catalogue is away.
    """
    found: set[str] = set()
    for catalog in _metadata_of(catalogs):
        for start in range(0, len(dids), _BATCH):
            found |= {did for did, entry in catalog.look(dids[start : start + _BATCH]).items() if not entry.retired}
    return sorted(found)


def note(write: Write, dids: Sequence[str], now: float, by: str, why: str) -> None:
    """Leave an event for each file that was retired."""
    with write() as connection:
        record_events(connection, [Event(now, ROOM, did, None, "retired", by, why) for did in dids])


def _metadata_of(catalogs: Catalogs) -> list[MetadataCatalog]:
    return [catalog.metadata for catalog in catalogs.all if catalog.metadata is not None]
