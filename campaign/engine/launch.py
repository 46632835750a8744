"""Hands tasks to a batch system: attempts are written down first, then launched, then their handles are written down."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from ulid import ULID

from campaign.engine.commit import failed
from campaign.engine.watch import job_of
from campaign.installation import Installation, Write
from campaign.launchers.protocol import Launcher
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Attempt
from campaign.ledger.tasks import Move, Task
from campaign.states import AttemptState, TaskState
from declare_daemon.journal import FileState, JournalFile, files_by_did
from declare_daemon.outbox import place_of
from declare_daemon.storage import path_below
from dune_prompt.errors import TransientError
from dune_prompt.records import Assignment, InputFile, write_json

_READABLE = (FileState.VERIFIED, FileState.DECLARED, FileState.LEAVING, FileState.LEFT)
EXTERNAL = "external"  # attempts handed out over HTTP, launched by somebody else


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new attempt and what its job will be told."""

    task: Task
    row: Mapping[str, object]
    assignment: Assignment


def new_attempt_id(now: float) -> str:
    """A ULID: its order is that of time."""
    return str(ULID.from_timestamp(now))


def token_hash(token: str) -> str:
    """What of a token is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


def prepare(
    installation: Installation,
    connection: sa.Connection,
    tasks: Sequence[Task],
    launcher: str,
    now: float,
    *,
    lease_s: float | None = None,
    request_id: str | None = None,
) -> list[Prepared]:
    """Write slices and attempts for `tasks` (one slice for each campaign and step) and move them to `submitting`.

    A retry starts after the stages that count already, with their outputs as its inputs.
    """
    inputs = files_by_did(connection, [task.input_did for task in tasks])
    tasks = _with_input(connection, tasks, inputs, now)
    committed = ledger_attempts.committed(connection, {(task.campaign_id, task.input_did) for task in tasks})
    sealed_by = {attempt for stages in committed.values() for attempt in stages.values()}
    earlier = _earlier_outputs(connection, sealed_by, installation.site.workspace / "outbox")
    slices: dict[tuple[int, str], str] = {}
    prepared: list[Prepared] = []
    for task in tasks:
        campaign = installation.campaigns[task.campaign_id]
        step = campaign.steps[task.step]
        if (task.campaign_id, task.step) not in slices:
            slices[task.campaign_id, task.step] = new_attempt_id(now)
            slice_id = slices[task.campaign_id, task.step]
            ledger_attempts.create_slice(connection, slice_id, request_id, task.campaign_id, task.step, launcher, now)
        counts = committed[task.campaign_id, task.input_did]
        stages = tuple(stage for stage in step.stages if stage not in counts)
        attempt_id, token = new_attempt_id(now), secrets.token_hex(16)
        lifetime = sum(campaign.settings.stages.limits(stage).lifetime for stage in stages)
        row = {
            "id": attempt_id,
            "task_id": task.id,
            "slice_id": slices[task.campaign_id, task.step],
            "number": task.attempts + 1,
            "state": AttemptState.SUBMITTING.value,
            "stages": list(stages),
            "launcher": launcher,
            "job_dir": str(installation.job_dir(attempt_id, now)),
            "output_dir": str(installation.output_dir(campaign.settings, attempt_id)),
            "token_hash": token_hash(token),
            "lease_until": now + (lifetime if lease_s is None else lease_s),
            "created_at": now,
        }
        raw = inputs[task.input_did]
        assignment = Assignment(
            attempt=attempt_id,
            task=str(task.id),
            campaign=campaign.settings.campaign,
            version=campaign.settings.version,
            stages=stages,
            raw=InputFile(raw.name, _raw_places(installation, raw), did=task.input_did, metadata=raw.metadata),
            earlier=tuple(item for stage, attempt in counts.items() for item in earlier.get((attempt, stage), ())),
            output_dir=str(row["output_dir"]),
            report=str(Path(str(row["job_dir"])) / "report.json"),
            service_url=installation.site.service.base_url,
            token=token,
        )
        prepared.append(Prepared(task, row, assignment))
    ledger_attempts.create(connection, [item.row for item in prepared], now)
    moves = [Move(item.task, TaskState.SUBMITTING, None, {"attempts": item.task.attempts + 1}) for item in prepared]
    ledger_tasks.apply(connection, moves, now)
    return prepared


def write_assignments(prepared: Sequence[Prepared]) -> None:
    """Write what each job is told, readable by it alone: the file holds its token."""
    for item in prepared:
        job_dir = Path(str(item.row["job_dir"]))
        job_dir.mkdir(parents=True, exist_ok=True)
        write_json(job_dir / "assignment.json", item.assignment.to_json(), private=True)


def launch(
    installation: Installation, launcher: Launcher, write: Write, tasks: Sequence[Task], now: float, jitter: Callable[[], float]
) -> int:
    """Submit one job for each task; how many the batch system took."""
    with write() as connection:
        prepared = prepare(installation, connection, tasks, launcher.name, now)
    with installation.store.read() as connection:
        attempts = {attempt.id: attempt for attempt in ledger_attempts.in_flight(connection)}
        fresh = ledger_tasks.by_ids(connection, [item.task.id for item in prepared])
    mine = [(attempts[str(item.row["id"])], fresh[item.task.id]) for item in prepared]
    error = "the batch system did not start it"
    handles: Mapping[str, str] = {}
    try:
        write_assignments(prepared)
        handles = launcher.submit([job_of(installation, attempt, task) for attempt, task in mine])
    except (TransientError, OSError) as problem:
        error = str(problem)
    with write() as connection:
        moves = []
        for attempt, task in mine:
            if handle := handles.get(attempt.id):
                ledger_attempts.update(connection, attempt, now, state=AttemptState.SUBMITTED, handle=handle, submitted_at=now)
                moves.append(Move(task, TaskState.SUBMITTED, None, {"submitted_at": now}))
            else:
                ledger_attempts.update(connection, attempt, now, state=AttemptState.LOST, ended_at=now, error_class="launch", message=error)
                moves.append(failed(task, "launch", error, now, jitter()))
        ledger_tasks.apply(connection, moves, now)
    return len(handles)


def _with_input(connection: sa.Connection, tasks: Sequence[Task], inputs: Mapping[str, JournalFile], now: float) -> list[Task]:
    """The tasks whose input the journal has in good order; the others are parked."""
    good, moves = [], []
    for task in tasks:
        file = inputs.get(task.input_did)
        if file is not None and file.state in _READABLE:
            good.append(task)
        else:
            message = "the journal does not know the input" if file is None else f"the input is {file.state.value}: {file.reason}"
            moves.append(Move(task, TaskState.PARKED, message, {"error_class": "data"}))
    ledger_tasks.apply(connection, moves, now)
    return good


def _raw_places(installation: Installation, raw: JournalFile) -> tuple[str, ...]:
    """Where the raw file can be: in the buffer as workers see it, or where the journal knows it."""
    buffer = installation.site.buffer
    below = path_below(raw.path, buffer.path)
    if buffer.worker_url and below is not None:
        return (f"{buffer.worker_url.rstrip('/')}/{below}", raw.path)
    return _places(raw)


def _places(file: JournalFile) -> tuple[str, ...]:
    """Where a file is now, and where it goes if it is being moved."""
    return (file.path,) if file.target is None else (file.path, file.target)


def _earlier_outputs(connection: sa.Connection, attempt_ids: set[str], default_root: Path) -> dict[tuple[str, str], list[InputFile]]:
    """The committed outputs of these attempts by (attempt, stage), with every place each may be at: the registrar may be moving it."""
    rows = ledger_attempts.outputs_of(connection, attempt_ids)
    attempts: dict[str, Attempt | None] = {attempt_id: ledger_attempts.by_id(connection, attempt_id) for attempt_id in attempt_ids}
    journaled = files_by_did(connection, [row.did for row in rows if row.did is not None])
    found: dict[tuple[str, str], list[InputFile]] = {}
    for row in rows:
        attempt = attempts[row.attempt_id]
        places = (*_places(journaled[row.did]), str(place_of(journaled[row.did], default_root))) if row.did in journaled else ()
        if attempt is not None:
            places = (*places, str(Path(attempt.output_dir) / row.name))
        found.setdefault((row.attempt_id, row.stage), []).append(
            InputFile(row.name, tuple(dict.fromkeys(places)), did=row.did, stage=row.stage)
        )
    return found
