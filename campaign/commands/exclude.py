"""Bad and test runs are left out, single files are waived; both with who and why, and both can be taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import Field

from campaign.commands.protocol import Arguments, Command, Rows
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import OPEN, Task
from campaign.ledger.versions import ALL_CAMPAIGNS, Exclusion, Version
from campaign.states import IN_FLIGHT, TaskState
from campaign.versions import waiving
from campaign.versions.inputs import take_in_run
from declare_daemon.journal.files import files_by_name
from dune_prompt.errors import ConfigError

if TYPE_CHECKING:
    from campaign.engine import Engine


class ExcludeArguments(Arguments):
    """Which run, and why; without `campaign` no campaign processes it."""

    run: int = Field(ge=0)
    campaign: str | None = None
    why: str = Field(min_length=1, max_length=1000)


class IncludeArguments(Arguments):
    """Which run; `campaign` as it was excluded."""

    run: int = Field(ge=0)
    campaign: str | None = None


class WaiveArguments(Arguments):
    """Which raw files, by DID or name, and why; without `campaign` for all campaigns. `undo`: they are to be processed after all."""

    files: tuple[str, ...] = Field(min_length=1)
    campaign: str | None = None
    version: str | None = None
    why: str = Field(min_length=1, max_length=1000)
    undo: bool = False


def exclude(engine: Engine, arguments: ExcludeArguments, now: float) -> Rows:
    """Leave a run out: what waits of it is waived, its files may leave, and new ones get no tasks. Jobs that run go on.

    Raises:
        ConfigError: there is no such campaign.
    """
    with engine.writing() as connection:
        versions = _versions(connection, arguments.campaign, None)
        exclusion = Exclusion(arguments.run, arguments.campaign or ALL_CAMPAIGNS, now, arguments.by, arguments.why)
        of_run = task_table.c.run == arguments.run
        running = ledger_tasks.select(connection, OPEN, task_table.c.state.in_(IN_FLIGHT), task_table.c.campaign_id.in_(versions), of_run)
        if arguments.dry_run:
            tasks = waiving.waiting(connection, versions, of_run)
        else:
            ledger_versions.exclude(connection, exclusion)
            tasks = waiving.waive_run(connection, exclusion, now)
    return [
        {
            "campaign": version.name,
            "version": version.version,
            "run": arguments.run,
            "waived": _inputs(tasks, version.id),
            "still_running": _inputs(running, version.id),
        }
        for version in versions.values()
    ]


def include(engine: Engine, arguments: IncludeArguments, now: float) -> Rows:
    """Take an exclusion back: what was waived with it waits again, and files that came meanwhile get their tasks.

    Raises:
        ConfigError: the run is not excluded in this way; there is no such campaign.
    """
    run, campaign = arguments.run, arguments.campaign or ALL_CAMPAIGNS
    with engine.writing() as connection:
        versions = _versions(connection, arguments.campaign, None)
        known = ledger_versions.exclusions(connection)
        if not any((item.run, item.campaign) == (run, campaign) for item in known):
            others = ", ".join(f"from {item.campaign or 'all campaigns'}" for item in known if item.run == run)
            raise ConfigError(f"run {run} is not excluded from {campaign or 'all campaigns'}; it is excluded {others or 'from none'}")
        others_left = [item for item in known if (item.run, item.campaign) != (run, campaign)]
        # A run that is excluded for another reason too stays so there.
        free = {key: item for key, item in versions.items() if run not in ledger_versions.excluded_runs(others_left, item.name)}
        tasks = waiving.waived_with_run(connection, free, run)
        if not arguments.dry_run:
            ledger_versions.include(connection, run, campaign, now, arguments.by)
            waiving.take_back(connection, versions, tasks, now, arguments.by, f"run {run} is included again")
    new = {} if arguments.dry_run else _take_in_meanwhile(engine, free, run, now)
    return [
        {
            "campaign": version.name,
            "version": version.version,
            "run": run,
            "waiting_again": _inputs(tasks, version.id),
            "new": new.get(version.id, 0),
        }
        for version in free.values()
    ]


def _take_in_meanwhile(engine: Engine, versions: dict[int, Version], run: int, now: float) -> dict[int, int]:
    """Make tasks of the files of `run` that came while it was excluded; how many inputs, by version."""
    active = {key: item for key, item in engine.installation.campaigns.items() if key in versions}
    return {campaign.id: take_in_run(engine.installation, engine.writing, campaign, run, now) for campaign in active.values()}


def waive(engine: Engine, arguments: WaiveArguments, now: float) -> Rows:
    """Say that files need not be processed, or (`undo`) that they must be after all. Jobs that run go on.

    Raises:
        ConfigError: a file is not known, or there is no such campaign.
    """
    with engine.writing() as connection:
        versions = _versions(connection, arguments.campaign, arguments.version)
        dids = _dids(connection, arguments.files)
        c = task_table.c
        mine = (c.campaign_id.in_(versions), c.input_did.in_(dids))
        if arguments.undo:
            tasks = ledger_tasks.select(connection, c.state == TaskState.WAIVED, *mine)
        else:
            tasks = waiving.waiting(connection, versions, *mine)
        others = [task for task in ledger_tasks.select(connection, *mine) if task.id not in {item.id for item in tasks}]
        if not arguments.dry_run and arguments.undo:
            waiving.take_back(connection, versions, tasks, now, arguments.by, arguments.why)
        elif not arguments.dry_run:
            waiving.waive(connection, versions, tasks, now, arguments.by, arguments.why)
    what = "waits again" if arguments.undo else "waived"
    rows = [(task, what) for task in tasks] + [(task, f"left as it is: {task.state.sentence}") for task in others]
    return [
        {
            "input": task.input_did,
            "campaign": versions[task.campaign_id].name,
            "version": versions[task.campaign_id].version,
            "step": task.step,
            "what": text,
        }
        for task, text in sorted(rows, key=lambda row: row[0].id)
    ]


def _versions(connection: sa.Connection, name: str | None, version: str | None) -> dict[int, Version]:
    return {item.id: item for item in ledger_versions.find(connection, name, version)}


def _inputs(tasks: list[Task], campaign_id: int) -> int:
    return len({task.input_did for task in tasks if task.campaign_id == campaign_id})


def _dids(connection: sa.Connection, files: tuple[str, ...]) -> list[str]:
    names = [file for file in files if ":" not in file]
    known = files_by_name(connection, "buffer", names)
    if missing := [name for name in names if name not in known or known[name].did is None]:
        raise ConfigError(f"{', '.join(missing[:5])}: the journal has no verified raw file of that name")
    return [str(known[file].did) if file in known else file for file in files]


EXCLUDE = Command("exclude", ExcludeArguments, exclude)
INCLUDE = Command("include", IncludeArguments, include)
WAIVE = Command("waive", WaiveArguments, waive)
