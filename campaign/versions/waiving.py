"""Tasks that need not be done: waived with who and why, so that their files may leave; and taken back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from campaign.definition import FINAL_STAGE
from campaign.layout import last_step, steps_of
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import OPEN, Move, Task
from campaign.ledger.versions import Exclusion, Version
from campaign.states import TaskState
from campaign.versions.roles import Role
from declare_daemon.journal import file_obligations, waive_obligations
from declare_daemon.journal.engine_side import KNOWN
from declare_daemon.journal.tables import file_table

# What no job works on, so that it can be waived at once. All others go on.
WAITING = frozenset({TaskState.BLOCKED, TaskState.READY, TaskState.WAITING_RETRY, TaskState.PARKED})

# How the message of a task begins that was waived with its whole run: such a task comes back with the run.
_WITH_RUN = "run excluded: "


def waiting(connection: sa.Connection, campaign_ids: Collection[int], *conditions: sa.ColumnElement[bool]) -> list[Task]:
    """The tasks of these versions that no job works on and that are not done, blocked and parked ones among them."""
    c = task_table.c
    return ledger_tasks.select(connection, OPEN, c.state.in_(WAITING), c.campaign_id.in_(campaign_ids), *conditions)


def waive(
    connection: sa.Connection, versions: Mapping[int, Version], tasks: Sequence[Task], now: float, by: str, why: str
) -> set[tuple[str, str, str]]:
    """Waive waiting tasks, and what keeps the files of those among them that were the last of their chain; the obligations it waived."""
    ledger_tasks.apply(connection, [Move(task, TaskState.WAIVED, why) for task in tasks], now, by=by)
    let_go: set[tuple[str, str, str]] = set()
    for campaign_id in sorted({task.campaign_id for task in tasks}):
        version = versions[campaign_id]
        inputs = [task.input_did for task in tasks if task.campaign_id == campaign_id and task.step == last_step(version.layout)]
        kept = ledger_versions.open_obligations(connection, version, inputs)
        let_go |= {(did, version.name, version.version) for did in kept}
    waive_obligations(connection, sorted(let_go), by, why, now)
    return let_go


def of_excluded(connection: sa.Connection, exclusion: Exclusion) -> list[Task]:
    """What waits of an excluded run."""
    versions = ledger_versions.versions(connection, exclusion.campaign or None)
    return waiting(connection, [item.id for item in versions], task_table.c.run == exclusion.run)


def kept_for_nothing(connection: sa.Connection, exclusion: Exclusion) -> list[tuple[Version, str]]:
    """The files of an excluded run that came after it was excluded, by the version that would have kept them.

    They have no obligation. A file without one is kept for ever, as one that no campaign has asked for yet.
    """
    c = file_table.c
    found: list[tuple[Version, str]] = []
    for version in ledger_versions.versions(connection, exclusion.campaign or None):
        if version.required and version.role is not Role.DROPPED:
            of_run = (c.run == exclusion.run, c.stream == version.stream, c.origin == "buffer", c.state.in_(KNOWN), c.did.is_not(None))
            dids = list(connection.execute(sa.select(c.did).where(*of_run)).scalars())
            found += [(version, did) for did in ledger_versions.without_obligation(connection, version, dids)]
    return found


def waive_run(connection: sa.Connection, exclusion: Exclusion, now: float) -> list[Task]:
    """Waive what waits of an excluded run, and let its files go; the tasks. What runs goes on, and is waived when it fails."""
    why = _WITH_RUN + exclusion.why
    tasks = of_excluded(connection, exclusion)
    if tasks:
        versions = {item.id: item for item in ledger_versions.versions(connection)}
        waive(connection, versions, tasks, now, exclusion.by, why)
    if unkept := kept_for_nothing(connection, exclusion):
        file_obligations(connection, [(did, version.name, version.version, FINAL_STAGE) for version, did in unkept])
        waive_obligations(connection, [(did, version.name, version.version) for version, did in unkept], exclusion.by, why, now)
    return tasks


def waive_excluded(connection: sa.Connection, now: float) -> list[Task]:
    """Waive what waits of all excluded runs, and let their files go: what failed or came since they were excluded."""
    return [task for exclusion in ledger_versions.exclusions(connection) for task in waive_run(connection, exclusion, now)]


def waived_with_run(connection: sa.Connection, campaign_ids: Collection[int], run: int) -> list[Task]:
    """The tasks of a run that were waived because it was excluded."""
    c = task_table.c
    with_run = c.message.startswith(_WITH_RUN, autoescape=True)
    return ledger_tasks.select(connection, c.state == TaskState.WAIVED, c.campaign_id.in_(campaign_ids), c.run == run, with_run)


def take_back(connection: sa.Connection, versions: Mapping[int, Version], tasks: Sequence[Task], now: float, by: str, why: str) -> None:
    """Let waived tasks wait again, with all their retries, and keep their files again."""
    before = _steps_before(connection, tasks, versions)
    moves = []
    for task in tasks:
        earlier = before.get(task.id)
        is_next = earlier is None or earlier.state is TaskState.DONE
        to = TaskState.READY if is_next else TaskState.BLOCKED
        moves.append(Move(task, to, why, {"failures": 0, "ready_at": now}))
    ledger_tasks.apply(connection, moves, now, by=by)
    keys = [(task.input_did, versions[task.campaign_id]) for task in tasks if task.step == last_step(versions[task.campaign_id].layout)]
    ledger_versions.restore_obligations(connection, [(did, version.name, version.version) for did, version in keys], by, now)


def _steps_before(connection: sa.Connection, tasks: Sequence[Task], versions: Mapping[int, Version]) -> dict[int, Task]:
    """The task of the step before each of `tasks`, by their ids; first steps are absent."""
    wanted: dict[tuple[int, str], int] = {}
    for task in tasks:
        after = next((step.after for step in steps_of(versions[task.campaign_id].layout) if step.name == task.step), None)
        if after is not None:
            wanted[task.input_id, after] = task.id
    found: dict[int, Task] = {}
    for part in ledger_tasks.chunks(sorted({input_id for input_id, _ in wanted})):
        for task in ledger_tasks.select(connection, task_table.c.input_id.in_(part)):
            if (following := wanted.get((task.input_id, task.step))) is not None:
                found[following] = task
    return found
