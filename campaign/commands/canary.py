"""A version that was tried on a part of its inputs is promoted or dropped, with one command each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from campaign.commands.protocol import Arguments, Command, Rows
from campaign.commands.redo import active_version
from campaign.installation import ActiveCampaign
from campaign.layout import steps_of
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import CHUNK, Task
from campaign.ledger.versions import Version
from campaign.states import IN_FLIGHT, TaskState
from campaign.versions import coverage, retirement, waiving
from campaign.versions.inputs import catalogs_of, done_in, make_tasks
from campaign.versions.roles import Role
from declare_daemon.catalogs import Catalogs
from declare_daemon.journal import files_by_did
from dune_prompt.errors import ConfigError

if TYPE_CHECKING:
    from campaign.engine import Engine


class PromoteArguments(Arguments):
    """Which version of which campaign."""

    campaign: str
    version: str


class DropArguments(PromoteArguments):
    """`retire`: what it has made is taken out of the catalogues' queries."""

    retire: bool = False


def promote(engine: Engine, arguments: PromoteArguments, now: float) -> Rows:
    """Let a tried version have all inputs from now on. Older ones finish what they began; what they have not begun, it takes over.

    What older versions have processed stays theirs: `campaign redo` is the explicit second pass. May be repeated.

    Raises:
        ConfigError: there is no such version; it is no canary; files would no longer be kept until they are processed.
        TransientError: the catalogue is away; what was done so far stays, call it again.
    """
    campaign = active_version(engine, arguments.campaign, arguments.version)
    with engine.installation.store.read() as connection:
        versions = ledger_versions.versions(connection, arguments.campaign)
    mine = next(item for item in versions if item.id == campaign.id)
    older = [item for item in versions if item.id != mine.id and item.role in (Role.FULL, Role.PROMOTED)]
    if mine.role not in (Role.CANARY, Role.PROMOTED):
        raise ConfigError(f"{mine.name} {mine.version} is no canary: {mine.role.sentence}")
    if mine.role is Role.CANARY and not mine.required and (kept_by := [item.version for item in older if item.required]):
        raise ConfigError(
            f"{mine.name}: version {', '.join(kept_by)} is `required`, {mine.version} is not: files would leave the buffer unprocessed; "
            f"say `required: true` in the file of {mine.version}"
        )
    if mine.role is Role.CANARY and not arguments.dry_run:
        with engine.writing() as connection:
            ledger_versions.set_role(connection, mine, Role.PROMOTED, now, arguments.by, f"was tried; was {mine.role}")
            for item in older:
                ledger_versions.set_role(connection, item, Role.SUPERSEDED, now, arguments.by, f"{mine.version} was promoted")
    if mine.role is Role.PROMOTED:
        older = [item for item in versions if item.role is Role.SUPERSEDED]
    with catalogs_of(engine.installation) as catalogs:
        taken = {item.id: _take_over(engine, catalogs, campaign, item, arguments, now) for item in older}
    row = {"campaign": mine.name, "version": mine.version, "role": Role.PROMOTED.value, "inputs_given_over": 0}
    return [row | {"inputs_taken_over": sum(taken.values())}] + [
        row | {"version": item.version, "role": Role.SUPERSEDED.value, "inputs_given_over": taken[item.id], "inputs_taken_over": 0}
        for item in older
    ]


def _take_over(engine: Engine, catalogs: Catalogs, campaign: ActiveCampaign, old: Version, arguments: Arguments, now: float) -> int:
    """Give the new version what the old one has not begun, a part at a time: its tasks, and its obligations. How many inputs."""
    count, after = 0, 0
    while True:
        with engine.installation.store.read() as connection:
            untouched = _not_begun(connection, old, after)
            covered = coverage.load(connection, {campaign.id: campaign})[campaign.id]
            files = files_by_did(connection, [task.input_did for task in untouched])
        if not untouched:
            return count
        after = untouched[-1].id
        dids = [
            did
            for did, file in files.items()
            if campaign.settings.inputs.covers(file.run or 0, file.metadata) and covered.waiver(file.run or 0) is None
        ]
        count += len(dids)
        if arguments.dry_run or not dids:
            continue
        done = done_in(catalogs.truth, campaign, dids)
        with engine.writing() as connection:
            chosen = {task.input_id for task in _not_begun(connection, old, 0, dids)}
            tasks = [task for task in _of_inputs(connection, chosen) if task.state in waiving.WAITING]
            taken = sorted({task.input_did for task in tasks})
            why = f"{campaign.settings.version} was promoted and takes it over"
            waiving.waive(connection, {old.id: old}, tasks, now, arguments.by, why)
            make_tasks(connection, engine.installation.site, campaign, [files[did] for did in taken], done, now)


def _not_begun(connection: sa.Connection, version: Version, after: int, dids: list[str] | None = None) -> list[Task]:
    """The first tasks of inputs that the version has done nothing of yet and nobody works on, in order; a part of them."""
    c = task_table.c
    first = steps_of(version.layout)[0].name
    conditions = [c.campaign_id == version.id, c.step == first, c.id > after, c.state.in_(waiving.WAITING)]
    if dids is not None:
        conditions.append(c.input_did.in_(dids))
    return ledger_tasks.select(connection, ledger_tasks.OPEN, *conditions, limit=CHUNK)


def _of_inputs(connection: sa.Connection, input_ids: set[int]) -> list[Task]:
    parts = ledger_tasks.chunks(sorted(input_ids))
    return [task for part in parts for task in ledger_tasks.select(connection, task_table.c.input_id.in_(part))]


def drop(engine: Engine, arguments: DropArguments, now: float) -> Rows:
    """Give a tried version up: it takes nothing more, what waits for it is waived, and no file is kept for it. May be repeated.

    Raises:
        ConfigError: there is no such version, or it is no canary.
        TransientError: a catalogue is away; its files are not all retired, call it again.
    """
    with engine.writing() as connection:
        (mine,) = ledger_versions.find(connection, arguments.campaign, arguments.version)
        if mine.role not in (Role.CANARY, Role.DROPPED):
            raise ConfigError(f"{mine.name} {mine.version} is no canary: {mine.role.sentence}")
        tasks = waiving.waiting(connection, [mine.id])
        running = ledger_tasks.select(connection, task_table.c.campaign_id == mine.id, task_table.c.state.in_(_AT_WORK))
        if not arguments.dry_run:
            if mine.role is Role.CANARY:
                ledger_versions.set_role(connection, mine, Role.DROPPED, now, arguments.by, "was tried and given up")
            waiving.waive(connection, {mine.id: mine}, tasks, now, arguments.by, f"version {mine.version} was dropped")
    retired = "kept"
    if arguments.retire:
        with catalogs_of(engine.installation) as catalogs:
            files = _made_by(engine, catalogs, mine)
            if not arguments.dry_run:
                retirement.retire_files(catalogs, [mine], files)
        if not arguments.dry_run:
            retirement.note(engine.writing, files, now, arguments.by, f"version {mine.version} was dropped")
        retired = f"{len(files)} files" + (", more when its jobs have ended: call it again" if running else "")
    return [
        {
            "campaign": mine.name,
            "version": mine.version,
            "role": Role.DROPPED.value,
            "inputs_waived": len({task.input_did for task in tasks}),
            "jobs_going_on": len(running),
            "retired": retired,
        }
    ]


# What may still bring outputs into the catalogues.
_AT_WORK = (*IN_FLIGHT, TaskState.REPORTED)


def _made_by(engine: Engine, catalogs: Catalogs, version: Version) -> list[str]:
    """The declared files of a version that are not retired yet."""
    with engine.installation.store.read() as connection:
        c = task_table.c
        begun = sa.select(c.input_did).where(c.campaign_id == version.id, sa.or_(c.attempts > 0, c.state == TaskState.DONE))
        inputs = sorted(set(connection.execute(begun).scalars()))
    return retirement.not_retired(catalogs, retirement.derived(engine.installation.store, catalogs, [version], inputs))


PROMOTE = Command("canary-promote", PromoteArguments, promote)
DROP = Command("canary-drop", DropArguments, drop)
