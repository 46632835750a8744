"""What the ledger says is done, against the children that the catalogue has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.definition import FINAL_STAGE
from campaign.installation import ActiveCampaign, Installation, Write
from campaign.layout import CHAIN
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger import versions as ledger_versions
from campaign.ledger.tables import task_table
from campaign.ledger.tasks import Task
from campaign.ledger.versions import Version
from campaign.reconcile.finding import Finding
from campaign.reconcile.moving import to_begin, to_done
from campaign.states import IN_FLIGHT, TaskState
from campaign.versions import coverage
from campaign.versions.coverage import Coverage
from campaign.versions.inputs import done_in
from campaign.versions.roles import Role
from declare_daemon.catalogs import MetadataCatalog
from declare_daemon.journal import FileState, JournalFile, file_obligations, files_by_did, meet_obligations

# What can be said to be done by the final child: the steps up to the one that makes it.
_PROVEN = (CHAIN, "nf_sp", "declare", FINAL_STAGE)
_FINAL = (CHAIN, FINAL_STAGE)
_LEFT_ALONE = frozenset({TaskState.DONE, TaskState.WAIVED, *IN_FLIGHT})
_JOURNAL_HAS_IT = (FileState.FOUND, FileState.VERIFIED, FileState.DECLARED, FileState.CONFLICT)

_MISSING = "done in the ledger, but the catalogue has no child of it"


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of a version: its tasks, what the catalogue says is done of it, and what holds its files."""

    tasks: Sequence[Task]
    done: frozenset[str]
    covered: Coverage
    files: Mapping[str, JournalFile]


def check(
    installation: Installation,
    catalog: MetadataCatalog,
    write: Write,
    campaign: ActiveCampaign,
    run: int | None,
    now: float,
    *,
    change: bool,
    repair: bool,
) -> Iterator[Finding]:
    """Compare a version's tasks with the catalogue, run by run; with `change` what is declared is done, with `repair` what is not is made
    again.

    Raises:
        TransientError: the catalogue is away.
    """
    for number in _runs(installation, campaign, run):
        seen = _look(installation, catalog, campaign, number)
        missing = _missing(seen)
        # Before anything is called missing it is asked for by itself: the dataset may know it later than the child.
        dids = sorted({task.input_did for task in missing})
        missing_dids = sorted(set(dids) - done_in(catalog, campaign, dids))
        retired = _retired(installation, catalog, campaign, [task for task in missing if task.input_did in missing_dids])
        with write() if change else installation.store.read() as connection:
            findings = _are_done(connection, campaign, number, seen.done, now, change=change)
        yield from findings
        again = []
        for did in missing_dids:
            other = _other_answer(did, retired, seen.files)
            if other is not None:
                yield Finding(_MISSING, did, other)
            else:
                again.append(did)
                yield Finding(
                    _MISSING, did, "processed again" if repair else "nothing: `--repair` has it processed again", repair and change
                )
        if again and repair and change:
            with write() as connection:
                _make_again(connection, installation, campaign, again, now)


def _runs(installation: Installation, campaign: ActiveCampaign, run: int | None) -> list[int]:
    if run is not None:
        return [run]
    with installation.store.read() as connection:
        runs = sa.select(task_table.c.run).where(task_table.c.campaign_id == campaign.id).distinct().order_by(task_table.c.run)
        return list(connection.execute(runs).scalars())


def _look(installation: Installation, catalog: MetadataCatalog, campaign: ActiveCampaign, run: int) -> _Run:
    with installation.store.read() as connection:
        tasks = _tasks(connection, campaign, run)
        dids = sorted({task.input_did for task in tasks})
        files = files_by_did(connection, dids)
        covered = coverage.load(connection, {campaign.id: campaign})[campaign.id]
    done: set[str] = set()
    rest = set(dids)
    # A dataset is one question, however many files it has; what is in none is asked for file by file.
    for dataset in sorted({file.dataset for file in files.values() if file.dataset is not None}):
        undone = set(catalog.undone(dataset, campaign.settings.made_by))
        members = {did for did, entry in catalog.members(dataset).items() if not entry.retired}
        done |= (members & rest) - undone
        rest -= members
    done |= done_in(catalog, campaign, sorted(rest))
    outputs = _final_outputs(installation, campaign, tasks)
    with installation.store.read() as connection:
        files = files | files_by_did(connection, [did for names in outputs.values() for did in names])
    return _Run(tasks, frozenset(done), covered, files)


def _tasks(connection: sa.Connection, campaign: ActiveCampaign, run: int) -> list[Task]:
    return ledger_tasks.select(connection, task_table.c.campaign_id == campaign.id, task_table.c.run == run)


def _are_done(
    connection: sa.Connection, campaign: ActiveCampaign, run: int, done: frozenset[str], now: float, *, change: bool
) -> list[Finding]:
    """Tasks that are open though their final child is declared, and obligations that are met with it."""
    tasks_of_run = _tasks(connection, campaign, run)
    tasks = [task for task in tasks_of_run if task.input_did in done and task.step in _PROVEN]
    open_ = [task for task in tasks if task.state not in _LEFT_ALONE]
    working = [task for task in tasks if task.state in IN_FLIGHT]
    version = _version(connection, campaign)
    asked = [task.input_did for task in tasks_of_run if task.step in _FINAL and task.state is not TaskState.WAIVED and version.required]
    lost = ledger_versions.without_obligation(connection, version, asked)
    if change:
        file_obligations(connection, [(did, version.name, version.version, FINAL_STAGE) for did in lost])
    unmet = sorted(ledger_versions.open_obligations(connection, version, sorted(done)))
    if change:
        to_done(connection, open_, "its final child is declared", now)
        meet_obligations(connection, [(did, version.name, version.version) for did in unmet], now)
    return [
        *[Finding("open in the ledger, but its final child is declared", task.input_did, "done", change) for task in open_],
        *[Finding("file that nothing keeps for the version", did, "obligation filed", change) for did in lost],
        *[Finding("at work though its final child is declared", task.input_did, "nothing: its job goes on") for task in working],
        *[Finding("file kept though its final child is declared", did, "obligation met", change) for did in unmet],
    ]


def _missing(seen: _Run) -> list[Task]:
    """Tasks said to be done whose child was not found. What is not an input any more may have been retired on purpose."""
    return [
        task
        for task in seen.tasks
        if task.step in _FINAL and task.state is TaskState.DONE and task.input_did not in seen.done and _is_input(seen, task)
    ]


def _is_input(seen: _Run, task: Task) -> bool:
    covered, file = seen.covered, seen.files.get(task.input_did)
    if covered.role is not Role.DROPPED and task.run not in covered.replaced and covered.waiver(task.run) is not None:
        return True  # it is not done either; as its run is excluded it will be waived
    return file is not None and covered.covers_file(file)


def _final_outputs(installation: Installation, campaign: ActiveCampaign, tasks: Sequence[Task]) -> dict[str, list[str]]:
    """The declared outputs of the final stage, by input."""
    dids = {task.input_id: task.input_did for task in tasks}
    with installation.store.read() as connection:
        committed = ledger_attempts.committed(connection, list(dids))
    namespace = campaign.settings.outputs.namespace
    return {
        dids[input_id]: [f"{namespace}:{output.name}" for output in stages[FINAL_STAGE].outputs if output.declared]
        for input_id, stages in committed.items()
        if FINAL_STAGE in stages
    }


def _retired(
    installation: Installation, catalog: MetadataCatalog, campaign: ActiveCampaign, tasks: Sequence[Task]
) -> dict[str, tuple[list[str], bool]]:
    """The final outputs of these inputs as the ledger knows them, and whether the catalogue has one of them retired."""
    outputs = _final_outputs(installation, campaign, tasks)
    names = [did for dids in outputs.values() for did in dids]
    entries = catalog.look(names) if names else {}
    return {did: (outs, any(entries[out].retired for out in outs if out in entries)) for did, outs in outputs.items()}


def _other_answer(did: str, retired: Mapping[str, tuple[list[str], bool]], files: Mapping[str, JournalFile]) -> str | None:
    """What to do other than processing the input again; None when that is the way."""
    outputs, is_retired = retired.get(did, ([], False))
    if is_retired:
        return "nothing: its name is taken by the retired file, only another version can make it again"
    if any(files[out].state in _JOURNAL_HAS_IT for out in outputs if out in files):
        return "nothing: the journal has its outputs, the daemon enters them (`declare audit --repair` if it says that it has)"
    return None


def _make_again(connection: sa.Connection, installation: Installation, campaign: ActiveCampaign, dids: Sequence[str], now: float) -> None:
    c = task_table.c
    version = _version(connection, campaign)
    for part in ledger_tasks.chunks(list(dids)):
        mine = (c.campaign_id == campaign.id, c.input_did.in_(part), c.step.in_(_FINAL), c.state == TaskState.DONE)
        tasks = ledger_tasks.select(connection, *mine)
        to_begin(connection, installation.campaigns, [task.input_id for task in tasks], "the catalogue has no child of it", now)
        ledger_versions.reopen_obligations(connection, [(task.input_did, version.name, version.version) for task in tasks])


def _version(connection: sa.Connection, campaign: ActiveCampaign) -> Version:
    return next(item for item in ledger_versions.versions(connection) if item.id == campaign.id)
