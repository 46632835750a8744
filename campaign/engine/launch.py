"""Hands tasks to a batch system: attempts are written down first, then launched, then their handles are written down."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from ulid import ULID

from campaign import places as attempt_places
from campaign.engine.commit import failed
from campaign.engine.watch import job_of
from campaign.inputs.finder import InputFinder
from campaign.inputs.places import Answer, Gone, Places, Waiting
from campaign.installation import ActiveCampaign, Installation, Write
from campaign.launchers.protocol import Job, Launcher, Submission
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.attempts import Attempt, Change, Committed
from campaign.ledger.tasks import Move, Task
from campaign.retries import Needs
from campaign.states import AttemptState, TaskState
from campaign.workers import Workers
from declare_daemon.journal import JournalFile, files_by_did
from declare_daemon.outbox import place_of
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import Assignment, InputFile, Output, write_json


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tasks that may be started: what counts of their inputs already, and where these are."""

    tasks: Sequence[Task]
    committed: Mapping[int, Mapping[str, Committed]]
    answers: Mapping[int, Answer]

    @classmethod
    def of(cls, connection: sa.Connection, tasks: Sequence[Task], finder: InputFinder) -> Candidates:
        """Ask for the places of the tasks' inputs. Best outside a transaction that writes: the answer may take a moment."""
        committed = ledger_attempts.committed(connection, {task.input_id for task in tasks})
        unread = {task.id for task in tasks if "nf_sp" in committed[task.input_id]}
        return cls(tasks, committed, finder.places(connection, tasks, unread))

    def only(self, tasks: Sequence[Task]) -> Candidates:
        """Some of them."""
        return replace(self, tasks=tasks)

    def places_of(self, task: Task) -> Places:
        """Where the raw file of a task that is started can be read."""
        answer = self.answers[task.id]
        assert isinstance(answer, Places)  # noqa: S101 - others are not started
        return answer


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new attempt and what its job will be told."""

    task: Task
    attempt: Attempt
    assignment: Assignment


def new_attempt_id(now: float) -> str:
    """A ULID: its order is that of time."""
    return str(ULID.from_timestamp(now))


def token_hash(token: str) -> str:
    """What of a token is kept: 128 bits of its SHA-256, as many as the token has."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def prepare(
    installation: Installation,
    connection: sa.Connection,
    candidates: Candidates,
    launcher: str,
    now: float,
    *,
    slice_id: str | None = None,
    lease_s: float | None = None,
    workers: Workers | None = None,
) -> list[Prepared]:
    """Write attempts for the candidates whose inputs can be read and move them to `submitting`; the others step aside, or are parked.
    With `workers`, jobs run where our files are not seen as they are here.

    A retry starts after the stages that count already, with their outputs as its inputs.
    """
    tasks = _with_input(connection, candidates, now)
    committed = candidates.committed
    in_place = workers is None or workers.share_files
    earlier = _earlier_outputs(installation, connection, tasks, committed, workers)
    prepared: list[Prepared] = []
    for task in tasks:
        campaign = installation.campaigns[task.campaign_id]
        counts = committed[task.input_id]
        stages = tuple(stage for stage in campaign.steps[task.step].stages if stage not in counts)
        attempt_id, token = new_attempt_id(now), secrets.token_hex(16)
        needs, limits = task.next_needs, campaign.limits(stages)
        lifetime_s = needs.lifetime_s or limits.lifetime_s
        attempt = Attempt(
            id=attempt_id,
            task_id=task.id,
            slice_id=slice_id,
            number=task.attempts + 1,
            state=AttemptState.SUBMITTING,
            stages=stages,
            launcher=launcher,
            handle=None,
            token_hash=token_hash(token),
            lease_until=now + (lifetime_s if lease_s is None else lease_s),
            created_at=now,
            submitted_at=None,
            started_at=None,
            heartbeat_at=None,
            ended_at=None,
            host=None,
            error_class=None,
            message=None,
            memory_bytes=needs.memory_bytes or limits.memory_bytes,
            lifetime_s=lifetime_s,
            cpu_s=None,
            rss_bytes=None,
        )
        raw = candidates.places_of(task)
        output_dir = str(installation.output_dir(campaign.settings, attempt_id))
        assignment = Assignment(
            attempt=attempt_id,
            task=str(task.id),
            campaign=campaign.settings.campaign,
            version=campaign.settings.version,
            stages=stages,
            raw=InputFile(
                raw.name,
                raw.places,
                did=task.input_did,
                metadata=dict(raw.metadata),
                size_bytes=raw.size_bytes,
                adler32=raw.adler32,
            ),
            earlier=earlier.get(task.id, ()),
            output_dir=output_dir if workers is None or in_place else workers.output_dir(campaign.settings, attempt_id),
            report=str(installation.job_dir(attempt_id) / "report.json") if in_place else "report.json",
            service_url=installation.site.service.base_url,
            token=token,
            in_place=in_place,
        )
        prepared.append(Prepared(task, attempt, assignment))
    ledger_attempts.create(connection, [item.attempt for item in prepared])
    moves = [Move(item.task, TaskState.SUBMITTING, None, {"attempts": item.attempt.number}) for item in prepared]
    ledger_tasks.apply(connection, moves, now)
    return prepared


def write_assignments(installation: Installation, prepared: Sequence[Prepared]) -> None:
    """Write what each job is told, readable by it alone: the file holds its token."""
    for item in prepared:
        job_dir = installation.job_dir(item.attempt.id)
        job_dir.mkdir(parents=True, exist_ok=True)
        write_json(job_dir / "assignment.json", item.assignment.to_json(), private=True)


@dataclass(frozen=True, slots=True)
class Group:
    """Attempts that are one submission."""

    launcher: str
    campaign: ActiveCampaign
    step: str
    slice_id: str | None
    prepared: list[Prepared]
    workers: Workers | None


def prepare_groups(
    installation: Installation, connection: sa.Connection, candidates: Candidates, launcher: str, workers: Workers | None, now: float
) -> list[Group]:
    """Write attempts for the candidates, those of equal needs as one submission."""
    groups = []
    for group in groups_of(candidates.tasks, workers):
        campaign, step = installation.campaigns[group[0].campaign_id], group[0].step
        slice_id = None
        if workers is not None:
            slice_id = new_attempt_id(now)
            ledger_attempts.create_slice(connection, slice_id, campaign.id, step, launcher, now)
        prepared = prepare(installation, connection, candidates.only(group), launcher, now, slice_id=slice_id, workers=workers)
        if prepared:
            groups.append(Group(launcher, campaign, step, slice_id, prepared, workers))
    return groups


def submit(
    installation: Installation,
    launchers: Mapping[str, Launcher],
    write: Write,
    groups: Sequence[Group],
    now: float,
    jitter: Callable[[], float],
) -> int:
    """Hand the groups over and write down what the batch system says at once; how many jobs it has taken, or has taken over."""
    return sum(_submit_group(installation, launchers[group.launcher], write, group, now, jitter) for group in groups)


def groups_of(tasks: Sequence[Task], workers: Workers | None) -> list[list[Task]]:
    """Tasks that can be one submission: of one campaign and step, with the same needs; that of the first task first. On this machine
    each job stands for itself."""
    if workers is None:
        return [list(tasks)] if tasks else []
    groups: dict[tuple[int, str, Needs], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.campaign_id, task.step, task.next_needs), []).append(task)
    return [group[i : i + workers.slice_size] for group in groups.values() for i in range(0, len(group), workers.slice_size)]


def _submit_group(
    installation: Installation, launcher: Launcher, write: Write, group: Group, now: float, jitter: Callable[[], float]
) -> int:
    # What `prepare` has just written is known without reading it again.
    mine = [(item.attempt, replace(item.task, state=TaskState.SUBMITTING, attempts=item.attempt.number)) for item in group.prepared]
    jobs = tuple(job_of(installation, attempt, task) for attempt, task in mine)
    error, error_class = "the batch system did not start it", "launch"
    handles: Mapping[str, str] = {}
    try:
        write_assignments(installation, group.prepared)
        handles = launcher.submit(submission_of(installation, group.campaign, group.step, group.slice_id, jobs, group.workers))
        if launcher.answers_later:
            return len(mine)
    except (TransientError, OSError) as problem:
        error = str(problem)
    except ConfigError as problem:
        error, error_class = str(problem), "configuration"
    _write_down(installation, write, mine, handles, (error_class, error), now, jitter)
    return len(handles)


def submission_of(
    installation: Installation, campaign: ActiveCampaign, step: str, slice_id: str | None, jobs: tuple[Job, ...], workers: Workers | None
) -> Submission:
    """What is handed over: the jobs, with all that they need beside them."""
    submission_id = slice_id or jobs[0].attempt
    folder = attempt_places.submission_dir(installation.site.workspace, submission_id)
    settings = campaign.settings
    plain = Submission(submission_id, settings.campaign, settings.version, step, jobs, folder)
    return plain if workers is None else workers.equip(plain, campaign)


def _write_down(
    installation: Installation,
    write: Write,
    mine: Iterable[tuple[Attempt, Task]],
    handles: Mapping[str, str],
    refusal: tuple[str, str],
    now: float,
    jitter: Callable[[], float],
) -> None:
    """What the batch system has answered: these jobs run here now, the others were refused."""
    error_class, error = refusal
    moves: list[Move] = []
    changes: list[Change] = []
    for attempt, task in mine:
        if handle := handles.get(attempt.id):
            running = {"state": AttemptState.RUNNING, "handle": handle, "submitted_at": now, "started_at": now}
            changes.append(Change(attempt, running))
            moves.append(Move(task, TaskState.RUNNING, None, {"submitted_at": now, "started_at": now}))
        else:
            ended = {"state": AttemptState.LOST, "ended_at": now, "error_class": error_class, "message": error}
            changes.append(Change(attempt, ended))
            moves.append(failed(installation, task, error_class, error, now, jitter(), attempt.stages))
    with write() as connection:
        ledger_attempts.update(connection, changes, now)
        ledger_tasks.apply(connection, moves, now)


def _submitting(item: Prepared) -> Task:
    return replace(item.task, state=TaskState.SUBMITTING, message=None, attempts=item.attempt.number)


def _with_input(connection: sa.Connection, candidates: Candidates, now: float) -> list[Task]:
    """The tasks whose input can be read now. The others step aside for a while, or are parked."""
    good: list[Task] = []
    moves: list[Move] = []
    later: list[tuple[Task, float, str]] = []
    for task in candidates.tasks:
        match candidates.answers[task.id]:
            case Places():
                good.append(task)
            case Waiting(sentence, again_s):
                later.append((task, now + again_s, sentence))
            case Gone(error_class, sentence):
                moves.append(Move(task, TaskState.PARKED, sentence, {"error_class": error_class}))
    ledger_tasks.apply(connection, moves, now)
    ledger_tasks.postpone(connection, later)
    return good


def _places(file: JournalFile) -> tuple[str, ...]:
    """Where a file is now, and where it goes if it is being moved."""
    return (file.path,) if file.target is None else (file.path, file.target)


def _earlier_outputs(
    installation: Installation,
    connection: sa.Connection,
    tasks: Sequence[Task],
    committed: Mapping[int, Mapping[str, Committed]],
    workers: Workers | None,
) -> dict[int, tuple[InputFile, ...]]:
    """The committed outputs of the tasks' inputs, with every place each may be at: the registrar may be moving it."""
    default_root = installation.site.workspace / "outbox"

    def did_of(task: Task, output: Output) -> str | None:
        return f"{installation.campaigns[task.campaign_id].settings.outputs.namespace}:{output.name}" if output.declared else None

    wanted = [
        (task, stage, count.attempt_id, output)
        for task in tasks
        for stage, count in committed[task.input_id].items()
        for output in count.outputs
    ]
    journaled = files_by_did(connection, [did for task, _, _, output in wanted if (did := did_of(task, output)) is not None])
    found: dict[int, tuple[InputFile, ...]] = {}
    for task, stage, attempt_id, output in wanted:
        did = did_of(task, output)
        file = journaled.get(did) if did is not None else None
        places = (*_places(file), str(place_of(file, default_root))) if file is not None else ()
        settings = installation.campaigns[task.campaign_id].settings
        places = (*places, str(installation.output_dir(settings, attempt_id) / output.name))
        if workers is not None:
            places = tuple(workers.seen(settings, place) for place in places)
        item = InputFile(
            output.name, tuple(dict.fromkeys(places)), did=did, stage=stage, size_bytes=output.size_bytes, adler32=output.adler32
        )
        found[task.id] = (*found.get(task.id, ()), item)
    return found


def assignment_path(installation: Installation, attempt_id: str) -> Path:
    """Where the assignment of an attempt is kept."""
    return installation.job_dir(attempt_id) / "assignment.json"
