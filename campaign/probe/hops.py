"""The way of a probe: every hop with its time, read from journal, ledger and the reports of its jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from campaign import places
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Attempt
from campaign.ledger.tables import campaign_table, task_table
from campaign.ledger.tasks import Task
from campaign.states import AttemptState, TaskState
from declare_daemon.journal import FileState, JournalFile, files_by_did
from declare_daemon.journal.files import fetch, files_by_name, select_files
from declare_daemon.journal.tables import file_table, step_table
from declare_daemon.registration.steps import PLACED
from dune_prompt.errors import DataError
from dune_prompt.records import Report, read_json

SENT, RULES, DONE = "sent", "rules", "done"


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way; it begins when hop `after` is passed. Some run beside each other; an `optional` one is not on every way."""

    key: str
    after: str
    words: str
    optional: bool = False


HOPS = (
    Hop("found", SENT, "noticed in the buffer"),
    Hop("verified", "found", "its checksum verified"),
    Hop("declared", "verified", "declared in the catalogues"),
    Hop("taken_in", "verified", "in the ledger"),
    Hop("submitted", "taken_in", "taken by the batch system"),
    Hop("started", "submitted", "its job started"),
    Hop("copied_in", "started", "input copied in", optional=True),
    Hop("nf_sp", "copied_in", "input read and processed (nf_sp)"),
    Hop("copied_out", "nf_sp", "outputs copied out", optional=True),
    Hop("declare", "copied_out", "outputs sealed (declare)"),
    Hop("evaluate", "declare", "judged (evaluate)"),
    Hop("dqm_upload", "evaluate", "on the data-quality page (dqm_upload)"),
    Hop("placed", "dqm_upload", "outputs verified and placed"),
    Hop("outputs_declared", "placed", "outputs declared"),
    Hop(DONE, "outputs_declared", "processed"),
    Hop(RULES, "outputs_declared", "rules of the outputs satisfied"),
)
_OUTPUT_DECLARED = (FileState.DECLARED, FileState.LEAVING, FileState.LEFT)
_RAW_BAD = (FileState.UNMATCHED, FileState.IGNORED, FileState.REJECTED, FileState.QUARANTINED, FileState.CONFLICT, FileState.GONE)
# Of the stages' metrics those that only depend on the input and the code.
_NUMBERS = {
    "nf_sp": ("n_records", "records_unusable", "n_problems", "n_elements", "charge_e"),
    "evaluate": ("n_elements", "n_pictures", "n_channels", "n_missing", "n_dead", "n_noisy", "charge_e", "hits"),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a probe is. `hops` are those it has passed, with the time; `where` says in words what is so now.

    `failed`: it will not get any further by itself, and why. `outputs` are the declared outputs.
    """

    hops: dict[str, float]
    where: str
    failed: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    outputs: tuple[JournalFile, ...] = ()
    attempts: int = 0
    launcher: str | None = None
    host: str | None = None

    @property
    def done(self) -> bool:
        return DONE in self.hops


def follow(connection: sa.Connection, workspace: Path, name: str, did: str, campaign: str, version: str) -> Progress:
    """How far the probe's file has come with (campaign, version)."""
    raw = files_by_did(connection, [did]).get(did) or files_by_name(connection, "buffer", [name]).get(name)
    if raw is None:
        return Progress({}, "the declare daemon has not noticed it")
    hops: dict[str, float | None] = {"found": raw.found_at, "verified": raw.verified_at, "declared": raw.declared_at}
    tasks = _tasks(connection, did, campaign, version)
    if not tasks:
        failed = f"{name} is {raw.state}: {raw.reason or raw.state.sentence}" if raw.state in _RAW_BAD else None
        ready = raw.state in (FileState.VERIFIED, FileState.DECLARED)
        where = ", but the service has not taken it into the ledger" if ready else f": {raw.state.sentence}"
        return Progress(_known(hops), f"its raw file is {raw.state}{where}", failed)
    attempts = ledger_attempts.of_tasks(connection, [task.id for task in tasks])
    reports = _reports(workspace, attempts)
    hops |= _of_ledger(tasks, attempts, reports)
    outputs = _outputs(connection, attempts)
    if tasks[-1].reported_at is not None:
        hops |= _of_outputs(connection, outputs)
    stuck = next((task for task in tasks if task.state in (TaskState.PARKED, TaskState.WAIVED)), None)
    open_task = next((task for task in tasks if task.state is not TaskState.DONE), tasks[-1])
    return Progress(
        hops=_known(hops),
        where=f"its task is {_state(open_task)}",
        failed=None if stuck is None else f"its task is {_state(stuck)}",
        numbers=_numbers(reports),
        outputs=tuple(outputs),
        attempts=len(attempts),
        launcher=attempts[-1].launcher if attempts else None,
        host=attempts[-1].host if attempts else None,
    )


def _known(hops: Mapping[str, float | None]) -> dict[str, float]:
    return {key: at for key, at in hops.items() if at is not None}


def _state(task: Task) -> str:
    return f"{task.state}: {task.state.sentence}" + (f" ({task.step}: {task.message})" if task.message else "")


def _tasks(connection: sa.Connection, did: str, campaign: str, version: str) -> list[Task]:
    query = sa.select(campaign_table.c.id).where(campaign_table.c.name == campaign, campaign_table.c.version == version)
    c = task_table.c
    return ledger_tasks.select(connection, c.campaign_id == query.scalar_subquery(), c.input_did == did)


def _of_ledger(tasks: Sequence[Task], attempts: Sequence[Attempt], reports: Sequence[Report]) -> dict[str, float | None]:
    stages = {stage.name: stage for report in reports for stage in report.stages if stage.state == "ok"}
    first = next((report.stages[0] for report in reports if report.stages), None)
    hops: dict[str, float | None] = {
        "taken_in": tasks[0].created_at,
        "submitted": min((attempt.submitted_at for attempt in attempts if attempt.submitted_at is not None), default=None),
        "started": first.started if first is not None else tasks[0].started_at,
        DONE: tasks[-1].done_at,
    }
    hops |= {name: stage.ended for name, stage in stages.items()}
    if (payload := stages.get("nf_sp")) is not None:
        if payload.metrics.get("copied_in_bytes"):
            hops["copied_in"] = payload.started + payload.metrics.get("copy_in_s", 0.0)
        if payload.metrics.get("copied_out_bytes"):
            hops |= {"nf_sp": payload.ended - payload.metrics.get("copy_out_s", 0.0), "copied_out": payload.ended}
    return hops


def _outputs(connection: sa.Connection, attempts: Sequence[Attempt]) -> list[JournalFile]:
    ids = [attempt.id for attempt in attempts]
    return fetch(connection, select_files().where(file_table.c.origin == "outbox", file_table.c.attempt.in_(ids)))


def _of_outputs(connection: sa.Connection, outputs: Sequence[JournalFile]) -> dict[str, float | None]:
    """When the last of the outputs was in its place, and declared."""
    if not outputs:
        return {}
    verified = [output.verified_at for output in outputs]
    declared = [output.declared_at if output.state in _OUTPUT_DECLARED else None for output in outputs]
    copied = sa.select(sa.func.max(step_table.c.done_at)).where(
        step_table.c.file_id.in_([output.id for output in outputs]), step_table.c.step == PLACED
    )
    placed = connection.execute(copied).scalar_one_or_none()
    return {"placed": _last([*verified, placed] if placed is not None else verified), "outputs_declared": _last(declared)}


def _last(times: Sequence[float | None]) -> float | None:
    known = [at for at in times if at is not None]
    return max(known) if known and len(known) == len(times) else None


def _reports(workspace: Path, attempts: Sequence[Attempt]) -> list[Report]:
    """The reports there are, oldest first; one that cannot be read tells nothing."""
    reports = []
    for attempt in attempts:
        if attempt.state not in (AttemptState.SUCCEEDED, AttemptState.FAILED):
            continue
        path = places.job_dir(workspace, attempt.id) / "report.json"
        try:
            reports.append(Report.from_json(read_json(path), str(path)))
        except (DataError, OSError):
            continue
    return reports


def _numbers(reports: Sequence[Report]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for report in reports:
        for stage in report.stages:
            metrics: Mapping[str, Any] = stage.metrics if stage.state == "ok" else {}
            for key in _NUMBERS.get(stage.name, ()):
                value = metrics.get(key)
                if isinstance(value, int | float):
                    numbers[f"{stage.name}.{key}"] = float(value)
    return numbers
