"""What the campaigns have to do with a file: the step it is at, what it waits for, what was tried, or why there is no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.inputs import recalls
from campaign.layout import steps_of
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger.attempts import Attempt
from campaign.ledger.tables import attempt_table, task_table
from campaign.ledger.tasks import OPEN, Task
from campaign.places import job_dir
from campaign.states import IN_FLIGHT, TaskState
from campaign.versions.coverage import Coverage
from campaign.versions.roles import role_of
from campaign.why.circumstances import Circumstances, exclusions
from campaign.why.covered import coverages
from campaign.why.file_sentences import FileSituation
from campaign.why.find import Found
from campaign.why.registered import registrations
from campaign.why.sentences import PendingOutput, Queue, Situation, say_attempt, say_deadline, say_task
from declare_daemon.journal import FileState, JournalFile
from declare_daemon.journal.files import files_by_name
from declare_daemon.journal.tables import intake_table
from dune_prompt.store import event_table

MOST_AHEAD = 20_000  # beyond, "or more" says enough
RATE_WINDOW_S = 600.0


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt: its number, where it ran, how it ended, and where its log is."""

    number: int
    step: str
    attempt: str
    state: str
    launcher: str
    host: str | None
    began_at: float
    ended_at: float | None
    error_class: str | None
    message: str | None
    log: str
    says: str


@dataclass(frozen=True, slots=True)
class CampaignAnswer:
    """What one campaign's version has to do with the file. `state` is that of the step it is at (None: it has no task for it);
    `steps` are all its steps with their states."""

    campaign: str
    version: str
    role: str
    step: str | None
    state: str | None
    steps: Mapping[str, str]
    late: bool
    deadline: float | None
    deadline_says: str | None
    says: str
    next: str
    next_at: float | None
    tried: tuple[Tried, ...] = ()


def campaign_answers(
    connection: sa.Connection, around: Circumstances, found: Found, attempts: Sequence[Attempt], run: int | None
) -> tuple[CampaignAnswer, ...]:
    """What every version has to do with the file; versions of other streams are left out."""
    excluded = exclusions(connection, run) if run is not None else {}
    with_tasks = {task.campaign_id for task in found.tasks}
    of_stream = {key: row for key, row in around.campaigns.items() if found.file is not None and row.stream == found.file.stream}
    without = {key: row for key, row in of_stream.items() if key not in with_tasks}
    covers = coverages(connection, without) if without else {}
    recalled = recalls.coming(connection, [found.did]).get(found.did) if found.did and found.tasks else None
    answers = []
    for campaign_id, campaign in around.campaigns.items():
        why_not = excluded.get("") or excluded.get(campaign.name)
        mine = [task for task in found.tasks if task.campaign_id == campaign_id]
        if mine:
            answers.append(_with_tasks(connection, around, campaign, mine, attempts, why_not, recalled.sentence if recalled else None))
        elif found.file is not None and campaign_id in without:
            answers.append(_without_task(connection, around, campaign, found.file, covers[campaign_id], why_not))
    return tuple(answers)


def _with_tasks(
    connection: sa.Connection,
    around: Circumstances,
    campaign: Any,
    tasks: Sequence[Task],
    attempts: Sequence[Attempt],
    excluded: str | None,
    recalled: str | None,
) -> CampaignAnswer:
    order = {step.name: i for i, step in enumerate(steps_of(campaign.layout))}
    tasks = sorted(tasks, key=lambda task: order.get(task.step, 99))
    # The step it is at: the first that is not through.
    at = next((task for task in tasks if task.state not in (TaskState.DONE, TaskState.WAIVED)), tasks[-1])
    before = None
    if at.state is TaskState.BLOCKED and (place := tasks.index(at)):
        before = situation(connection, around, campaign, tasks[place - 1], attempts, excluded=excluded, recalled=recalled)
    said = say_task(situation(connection, around, campaign, at, attempts, before=before, excluded=excluded, recalled=recalled))
    names = {task.id: task.step for task in tasks}
    return CampaignAnswer(
        campaign.name,
        campaign.version,
        role_of(campaign.role, campaign.content).value,
        at.step,
        at.state.value,
        {task.step: task.state.value for task in tasks},
        at.late,
        at.deadline,
        say_deadline(at, around.now),
        said.now,
        said.next,
        said.at,
        tuple(_tried(around, item, names[item.task_id]) for item in attempts if item.task_id in names),
    )


def _tried(around: Circumstances, attempt: Attempt, step: str) -> Tried:
    return Tried(
        number=attempt.number,
        step=step,
        attempt=attempt.id,
        state=attempt.state.value,
        launcher=attempt.launcher,
        host=attempt.host,
        began_at=attempt.started_at or attempt.submitted_at or attempt.created_at,
        ended_at=attempt.ended_at,
        error_class=attempt.error_class,
        message=attempt.message,
        log=str(job_dir(around.site.workspace, attempt.id) / "job.log"),
        says=say_attempt(attempt, around.now),
    )


def situation(
    connection: sa.Connection,
    around: Circumstances,
    campaign: Any,
    task: Task,
    attempts: Sequence[Attempt],
    *,
    before: Situation | None = None,
    excluded: str | None = None,
    recalled: str | None = None,
) -> Situation:
    """What bears on a task: only what its state asks for is looked up."""
    mine = [attempt for attempt in attempts if attempt.task_id == task.id]
    by, why, moved_at = None, None, None
    if task.state in (TaskState.WAIVED, TaskState.PARKED):
        by, why, moved_at = _last_move(connection, task)
    return Situation(
        task=task,
        campaign=campaign,
        around=around,
        attempt=mine[-1] if mine and task.state in (*IN_FLIGHT, TaskState.WAITING_RETRY, TaskState.PARKED) else None,
        before=before,
        queue=place_in_queue(connection, around, task) if task.state is TaskState.READY else None,
        outputs=_pending_outputs(connection, around, task) if task.state is TaskState.REPORTED else (),
        by=by,
        why=why,
        moved_at=moved_at,
        excluded=excluded,
        recalled=recalled,
    )


def place_in_queue(connection: sa.Connection, around: Circumstances, task: Task) -> Queue:
    """How many tasks start before this one, by `campaign.deadlines.queue_key`, and at which rate jobs end lately."""
    t = task_table.c
    waiting = [OPEN, t.state == TaskState.READY]
    if paused := around.paused_campaigns:
        waiting.append(t.campaign_id.not_in(paused))
    same = (t.late.is_(task.late), t.deadline == task.deadline, t.id < task.id)
    parts = [(t.late.is_(task.late), t.deadline < task.deadline), same, *([(t.late.is_(False),)] if task.late else [])]
    ahead = 0
    for part in parts:
        some = sa.select(t.id).where(*waiting, *part).limit(MOST_AHEAD + 1 - ahead).subquery()
        ahead += int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())
        if ahead > MOST_AHEAD:
            return Queue(MOST_AHEAD, more=True, rate=None)
    lately = sa.select(attempt_table.c.id).where(attempt_table.c.ended_at > around.now - RATE_WINDOW_S).limit(MOST_AHEAD).subquery()
    ended = int(connection.execute(sa.select(sa.func.count()).select_from(lately)).scalar_one())
    return Queue(ahead, more=False, rate=ended / RATE_WINDOW_S if ended else None)


def _last_move(connection: sa.Connection, task: Task) -> tuple[str | None, str | None, float | None]:
    """Who brought the task into its state, with what words, and when."""
    e = event_table.c
    moved = sa.select(e.by, e.message, e.at).where(e.subject == f"task:{task.id}", e.after == task.state.value)
    row = connection.execute(moved.order_by(e.id.desc()).limit(1)).first()
    return (row.by, row.message, row.at) if row is not None else (None, None, None)


def _pending_outputs(connection: sa.Connection, around: Circumstances, task: Task) -> list[PendingOutput]:
    """The outputs of the input that are not declared yet, with what they wait for."""
    committed = ledger_attempts.committed(connection, [task.input_id])[task.input_id]
    names = {output.name for stage in committed.values() for output in stage.outputs if output.declared}
    files = files_by_name(connection, "outbox", names)
    pending = [PendingOutput(name, "is not handed over to the daemon yet") for name in sorted(names - files.keys())]
    for name, file in sorted(files.items()):
        if file.state not in (FileState.DECLARED, FileState.LEAVING, FileState.LEFT):
            item = FileSituation(file, around, None, registrations(connection, around, file))
            waits = f", waits for {', '.join(item.waiting_for)}" if item.file.state is FileState.VERIFIED and item.waiting_for else ""
            reason = f" ({file.reason})" if file.reason else ""
            pending.append(PendingOutput(name, f"is {file.state.value}{reason}{waits}"))
    return pending


def _without_task(
    connection: sa.Connection, around: Circumstances, campaign: Any, file: JournalFile, covers: Coverage, excluded: str | None
) -> CampaignAnswer:
    """Why a campaign of the file's stream has no task for it, and whether it will have one."""
    says, next_ = _why_no_task(connection, around, campaign, file, covers, excluded)
    role = role_of(campaign.role, campaign.content).value
    return CampaignAnswer(campaign.name, campaign.version, role, None, None, {}, False, None, None, says, next_, None)


def _why_no_task(
    connection: sa.Connection, around: Circumstances, campaign: Any, file: JournalFile, covers: Coverage, excluded: str | None
) -> tuple[str, str]:
    if excluded:
        return excluded, f"nothing, unless somebody takes it back: `dune-prompt campaign include {file.run}`"
    if file.did is None or file.state in (FileState.FOUND, FileState.REJECTED, FileState.QUARANTINED, FileState.CONFLICT, FileState.GONE):
        return "a file gets a task when it is verified, and this one is not", f"when it is verified the engine takes it in ({file.state})"
    if file.state in (FileState.IGNORED, FileState.UNMATCHED, FileState.RETURNING):
        return f"it is {file.state}: it is not processed", "nothing"
    if not covers.covers_file(file):
        ask = f"`dune-prompt campaign redo {file.run} --version {campaign.version}`"
        reason = covers.reason(file.run or 0, file.did, file.metadata, file.found_at)
        return reason, f"nothing, unless its campaign file says otherwise, or somebody asks: {ask}"
    waits = connection.execute(sa.select(intake_table.c.file_id).where(intake_table.c.file_id == file.id)).first() is not None
    if around.engine is None:
        return "no engine has taken it in yet", "when `dune-prompt serve` runs, or the next `dune-prompt campaign step`"
    if waits or campaign.taken_in_at is None:
        return "the engine has not taken it in yet", "the engine's next step makes its task"
    return (
        "the engine has taken it in without a task for this campaign",
        "`dune-prompt campaign reconcile` makes the tasks that are missing",
    )
