"""The explicit second pass: a version processes a run that its `inputs` do not cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from campaign.commands.protocol import Arguments, Command, Rows
from campaign.installation import ActiveCampaign
from campaign.layout import last_step
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Task
from campaign.ledger.versions import Redo
from campaign.states import TaskState
from campaign.versions import coverage, retirement
from campaign.versions.inputs import catalogs_of, done_in, files_of_run, make_tasks
from campaign.versions.roles import Role
from dune_prompt.errors import ConfigError

if TYPE_CHECKING:
    from campaign.engine import Engine


class RedoArguments(Arguments):
    """Which run, by which version. With `retire_old` older versions' files are retired when all of the run is done."""

    run: int = Field(ge=0)
    version: str
    campaign: str | None = None
    retire_old: bool = False


def redo(engine: Engine, arguments: RedoArguments, now: float) -> Rows:
    """Have a version process a run again. Asked again it says how far that is, and retires older results that are due.

    Raises:
        ConfigError: no such version or run here; the run is excluded; the version has processed all of it already.
        TransientError: the catalogue is away, so nobody knows what is done already.
    """
    installation, run = engine.installation, arguments.run
    campaign = active_version(engine, arguments.campaign, arguments.version)
    settings = campaign.settings
    with installation.store.read() as connection:
        covers = coverage.load(connection, {campaign.id: campaign})[campaign.id]
        files = files_of_run(connection, settings.stream, run)
        tasks = ledger_tasks.select(connection, task_table.c.campaign_id == campaign.id, task_table.c.run == run)
    if covers.role is Role.DROPPED:
        raise ConfigError(f"{settings.campaign} {settings.version} was dropped: it processes nothing more")
    if (exclusion := covers.waiver(run)) is not None:
        raise ConfigError(f"run {run} is excluded by {exclusion.by} ({exclusion.why}): `campaign include {run}` first")
    if not files:
        raise ConfigError(f"run {run}: the journal has no verified file of stream {settings.stream} of it")
    known = {task.input_did for task in tasks}
    new = [file for file in files if file.did not in known]
    if not new and run not in covers.redone:
        raise ConfigError(_refusal(campaign, run, tasks))
    with catalogs_of(installation) as catalogs:
        done = done_in(catalogs.truth, campaign, [str(file.did) for file in new])
    if not arguments.dry_run:
        asked = Redo(campaign.id, run, now, arguments.by, arguments.retire_old, None, None)
        with engine.writing() as connection:
            ledger_versions.redo(connection, asked)
            make_tasks(connection, installation.site, campaign, new, done, now)
            ledger_versions.redo_is(connection, campaign.id, run, taken_in_at=now)
    return [
        {
            "run": run,
            "campaign": settings.campaign,
            "version": settings.version,
            "files": len(files),
            "new": len(new) - len(done),
            "done": len(done) + _done(campaign, tasks),
            "older_results": _retire(engine, campaign, arguments, now),
        }
    ]


def active_version(engine: Engine, name: str | None, version: str) -> ActiveCampaign:
    """The campaign's version that this installation runs.

    Raises:
        ConfigError: there is none, or the campaign has to be named too.
    """
    active = engine.installation.campaigns.values()
    fitting = [item for item in active if item.settings.version == version and name in (None, item.settings.campaign)]
    if not fitting:
        known = ", ".join(f"{item.settings.campaign} {item.settings.version}" for item in active)
        raise ConfigError(f"no campaign file here is of {name or 'any campaign'} version {version}; there are: {known}")
    if len(fitting) > 1:
        names = ", ".join(item.settings.campaign for item in fitting)
        raise ConfigError(f"several campaigns have a version {version}: say which with --campaign ({names})")
    return fitting[0]


def _refusal(campaign: ActiveCampaign, run: int, tasks: list[Task]) -> str:
    """Why there is nothing to do again, and what to do instead."""
    who = f"{campaign.settings.campaign} {campaign.settings.version}"
    if parked := {task.input_did for task in tasks if task.state is TaskState.PARKED}:
        return f"run {run}: {who} has {len(parked)} of its files parked: `campaign retry --parked --run {run}` tries them again"
    waiting = {task.input_did for task in tasks if task.state not in (TaskState.DONE, TaskState.WAIVED)}
    if waiting:
        return f"run {run}: {who} is at work on it ({len(waiting)} files to go)"
    return f"run {run}: {who} has processed it; results of (campaign, version) are final: raise `version`"


def _done(campaign: ActiveCampaign, tasks: list[Task]) -> int:
    final = last_step(campaign.settings.layout)
    return sum(task.step == final and task.state is TaskState.DONE for task in tasks)


def _retire(engine: Engine, campaign: ActiveCampaign, arguments: RedoArguments, now: float) -> str:
    """Retire the older versions' files of the run if they are due; what there is to say about them."""
    with engine.installation.store.read() as connection:
        found = [item for item in retirement.due(connection, [campaign.id]) if item.redo.run == arguments.run]
        redone = {item.run: item for item in ledger_versions.redos(connection) if item.campaign_id == campaign.id}
    if not found:
        retired = arguments.run in redone and redone[arguments.run].retired_at is not None
        return "retired" if retired else "will be retired" if arguments.retire_old else "kept"
    if found[0].waits_for is not None:
        return f"wait for {found[0].waits_for}"
    if arguments.dry_run:
        return "are due to be retired"
    with catalogs_of(engine.installation) as catalogs:
        files = retirement.retire(engine.installation.store, catalogs, engine.writing, found[0], now, arguments.by)
    return f"{len(files)} files retired"


REDO = Command("redo", RedoArguments, redo)
