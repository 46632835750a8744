"""Why is this run where it is? Counts, what holds it up the most, parked, slow and late files, missing sequence numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from campaign.certificate.facts import files_without_run
from campaign.certificate.sequence import WriterSequence, sequences, spelled
from campaign.layout import last_step
from campaign.ledger import attempts as ledger_attempts
from campaign.ledger import tasks as ledger_tasks
from campaign.ledger.tables import count_table, task_table
from campaign.ledger.tasks import OPEN, Task
from campaign.states import OPEN as OPEN_STATES
from campaign.states import TaskState
from campaign.versions.roles import role_of
from campaign.why.circumstances import Circumstances, exclusions, read_circumstances
from campaign.why.find import near_runs
from campaign.why.sentences import say_task
from campaign.why.spelled import count, listed, span
from campaign.why.work import situation
from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table
from dune_prompt.settings import Site

MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class FileLine:
    """One file of the run that deserves a look, and why."""

    file: str
    step: str
    state: str
    says: str


@dataclass(frozen=True, slots=True)
class RunCampaign:
    """One campaign's version and the run. `holds` is what holds it up the most, for the open task that comes first; `next` what happens
    with that one; `open_for_s` in the lines of `slowest` is counted from the file's closing."""

    campaign: str
    version: str
    role: str
    files: int
    processed: int
    prompt_ends: float | None
    states: Mapping[str, int]
    late: int
    excluded: str | None
    holds: str | None
    next: str | None
    next_at: float | None
    parked: tuple[FileLine, ...]
    slowest: tuple[FileLine, ...]


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """The whole answer. `raw` are the raw files in the journal by state; `missing` the holes in their sequence numbers, in words."""

    run: int
    known: bool
    headline: str
    raw: Mapping[str, int]
    last_file_at: float | None
    missing: tuple[str, ...] = ()
    stopped: tuple[FileLine, ...] = ()
    campaigns: tuple[RunCampaign, ...] = ()
    near: tuple[int, ...] = ()
    to_do: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The answer as data. Times in seconds since the Unix epoch."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The answer as text, line by line."""
        lines = [self.headline, ""]
        if self.raw:
            total = sum(self.raw.values())
            lines.append(f"  raw       {count(total, 'file')}: {', '.join(f'{number} {state}' for state, number in self.raw.items())}")
        lines += [f"  missing   {words}" for words in self.missing]
        lines += [f"  stopped   {item.file}: {item.says}" for item in self.stopped]
        for item in self.campaigns:
            lines += ["", f"{item.campaign} {item.version}" + (f" ({item.role})" if item.role != "full" else "")]
            states = ", ".join(f"{number} {state}" for state, number in item.states.items())
            lines.append(f"  files     {item.processed} of {item.files} processed" + (f"; tasks: {states}" if states else ""))
            lines += [f"  excluded  {item.excluded}"] if item.excluded else []
            lines += [f"  late      {count(item.late, 'task')} not done before the deadline"] if item.late else []
            lines += [f"  holds up  {item.holds}", f"  next      {item.next}"] if item.holds else []
            lines += [f"  parked    {line.file}: {line.says}" for line in item.parked]
            lines += [f"  slowest   {line.file}: {line.says}" for line in item.slowest]
        if self.near:
            lines += ["", f"known runs next to it: {', '.join(map(str, self.near))}"]
        return lines + [f"  to do     {line}" for line in self.to_do]


def why_run(connection: sa.Connection, site: Site, run: int, now: float) -> RunAnswer:
    """The story of a run. Only reads."""
    around = read_circumstances(connection, site, now)
    c = file_table.c
    mine = (c.run == run, c.origin == "buffer")
    rows: list[Any] = [*connection.execute(sa.select(c.name, c.state, c.reason, c.closed_at, c.found_at).where(*mine)).all()]
    rows += files_without_run(connection, run)
    counted = _counts(connection, around, run)
    if not rows and not counted:
        return _unknown(connection, around, run)
    states = Counter(FileState(row.state) for row in rows)
    found, _ = sequences(row.name for row in rows if row.state != FileState.GONE)
    excluded = exclusions(connection, run)
    campaigns = tuple(
        _campaign(connection, around, around.campaigns[campaign_id], run, counts, excluded) for campaign_id, counts in counted.items()
    )
    missing = tuple(_hole(item) for item in found if item.missing)
    last = max((row.closed_at or row.found_at for row in rows), default=None)
    return RunAnswer(
        run=run,
        known=True,
        headline=_headline(run, len(rows), campaigns, sum(item.holes for item in found)),
        raw={state.value: states[state] for state in FileState if states[state]},
        last_file_at=last,
        missing=missing,
        stopped=_stopped(rows),
        campaigns=campaigns,
        to_do=() if campaigns else _no_task(around),
    )


def _unknown(connection: sa.Connection, around: Circumstances, run: int) -> RunAnswer:
    to_do = ["its first file is seen when it is closed and has its sidecar"]
    if around.daemon is None:
        to_do.append("no daemon runs, so new files are not seen: `dune-prompt declare run`, or once: `dune-prompt declare once`")
    if (away := around.buffer_away()) is not None:
        to_do.insert(0, away)
    headline = f"Run {run} has never been seen here: neither journal nor ledger knows a file of it."
    return RunAnswer(run, False, headline, {}, None, near=tuple(near_runs(connection, run)), to_do=tuple(to_do))


def _counts(connection: sa.Connection, around: Circumstances, run: int) -> dict[int, list[Any]]:
    c = count_table.c
    # The campaigns are named, because they come first in the key.
    mine = sa.select(count_table).where(c.campaign_id.in_(around.campaigns), c.run == run, c.tasks > 0).order_by(c.campaign_id)
    found: dict[int, list[Any]] = {}
    for row in connection.execute(mine):
        found.setdefault(row.campaign_id, []).append(row)
    return found


def _campaign(
    connection: sa.Connection, around: Circumstances, campaign: Any, run: int, counts: Sequence[Any], excluded: Mapping[str, str]
) -> RunCampaign:
    states: Counter[TaskState] = Counter()
    for row in counts:
        states[TaskState(row.state)] += row.tasks
    final = [row for row in counts if row.step == last_step(campaign.layout)]
    t = task_table.c
    mine = (t.run == run, t.campaign_id == campaign.id, OPEN)
    first = _first_open(connection, mine)
    why_not = excluded.get("") or excluded.get(campaign.name)
    holds, next_, next_at = _holds(connection, around, campaign, first, states, why_not)
    parked = ledger_tasks.select(connection, *mine, t.state == TaskState.PARKED, limit=MOST_LISTED)
    return RunCampaign(
        campaign=campaign.name,
        version=campaign.version,
        role=role_of(campaign.role, campaign.content).value,
        files=sum(row.tasks for row in final),
        processed=sum(row.tasks for row in final if row.state == TaskState.DONE),
        prompt_ends=first.deadline if first else None,
        states={state.value: states[state] for state in TaskState if states[state]},
        late=sum(row.tasks for row in counts if row.late and row.state != TaskState.DONE),
        excluded=why_not,
        holds=holds,
        next=next_,
        next_at=next_at,
        parked=tuple(_line(task, f"{task.error_class or 'payload'}: {task.message or 'no message'}") for task in parked),
        slowest=tuple(_slow(task, around.now) for task in _oldest(connection, mine)),
    )


def _first_open(connection: sa.Connection, mine: Sequence[sa.ColumnElement[bool]]) -> Task | None:
    """The open task that ought to be done first: what it waits for, most of the others wait for too."""
    t = task_table.c
    order = sa.select(t.id).where(*mine, t.state.in_(OPEN_STATES - {TaskState.BLOCKED})).order_by(t.late, t.deadline, t.id).limit(1)
    task_id = connection.execute(order).scalar()
    return None if task_id is None else ledger_tasks.by_ids(connection, [task_id]).get(task_id)


def _holds(
    connection: sa.Connection,
    around: Circumstances,
    campaign: Any,
    first: Task | None,
    states: Mapping[TaskState, int],
    excluded: str | None,
) -> tuple[str | None, str | None, float | None]:
    if first is None and not states.get(TaskState.PARKED):
        return None, None, None
    if first is None:
        words = f"{count(states[TaskState.PARKED], 'parked task')}: a person must look at the logs and ask for another try"
        return words, f"nothing before that: `dune-prompt campaign retry --parked --campaign {campaign.name}`", None
    most = max((state for state in OPEN_STATES if states.get(state)), key=lambda state: (states[state], state.value))
    said = say_task(situation(connection, around, campaign, first, ledger_attempts.of_tasks(connection, [first.id]), excluded=excluded))
    name = first.input_did.rpartition(":")[2]
    return f"{count(states[most], 'task')} {most.value} ({most.sentence}); the first, {name}: {said.now}", said.next, said.at


def _oldest(connection: sa.Connection, mine: Sequence[sa.ColumnElement[bool]]) -> list[Task]:
    """Tasks that work has begun on and that are open the longest."""
    t = task_table.c
    begun = OPEN_STATES - {TaskState.BLOCKED, TaskState.READY}
    ids = connection.execute(
        sa.select(t.id).where(*mine, t.state.in_(begun)).order_by(sa.func.coalesce(t.closed_at, t.created_at), t.id).limit(MOST_LISTED // 2)
    )
    order = list(ids.scalars())
    tasks = ledger_tasks.by_ids(connection, order)
    return [tasks[task_id] for task_id in order if task_id in tasks]


def _slow(task: Task, now: float) -> FileLine:
    began = task.closed_at or task.created_at
    tries = f", {count(task.attempts, 'attempt')}" if task.attempts else ""
    return _line(task, f"open for {span(now - began)}: {task.state.sentence}{tries}")


def _line(task: Task, says: str) -> FileLine:
    return FileLine(task.input_did.rpartition(":")[2], task.step, task.state.value, says)


def _hole(item: WriterSequence) -> str:
    return f"{count(item.holes, 'sequence number')} of {item.writer}: {spelled(item.missing[:10])}{', …' if len(item.missing) > 10 else ''}"


def _stopped(rows: Sequence[Any]) -> tuple[FileLine, ...]:
    bad = (FileState.QUARANTINED, FileState.REJECTED, FileState.CONFLICT, FileState.UNMATCHED, FileState.GONE)
    found = [FileLine(row.name, "", str(row.state), f"{row.state}: {row.reason or 'no reason kept'}") for row in rows if row.state in bad]
    return tuple(sorted(found, key=lambda line: line.file)[:MOST_LISTED])


def _no_task(around: Circumstances) -> tuple[str, ...]:
    if around.engine is None:
        return ("no task was made yet, and no engine runs: `dune-prompt serve`, or `dune-prompt campaign step`",)
    return ("no campaign has a task for it: is its stream processed, do the campaigns' `inputs` cover it?",)


def _headline(run: int, raw: int, campaigns: Sequence[RunCampaign], holes: int) -> str:
    if not campaigns:
        return f"Run {run}: {count(raw, 'raw file')}, no campaign has a task for it."
    parts = []
    for item in campaigns:
        words = f"{item.campaign} {item.version}: {item.processed} of {item.files} processed"
        more = [f"{item.states[state]} {state}" for state in (TaskState.PARKED, TaskState.WAITING_RETRY) if state.value in item.states]
        more += [f"{item.late} late"] if item.late else []
        parts.append(words + (f", {listed(more)}" if more else ""))
    hole = f"; {count(holes, 'sequence number')} missing" if holes else ""
    return f"Run {run}: {count(raw, 'raw file')}{hole}; {'; '.join(parts)}."
