"""How much work there is and how far it got, from the ledger's summary of counts. Costs do not grow with the number of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa

from campaign.ledger.tables import count_table
from campaign.states import BACKLOG, IN_FLIGHT, TaskState
from dashboard.dqm.tables import result_table
from dashboard.operations.campaigns import Campaigns

RUNS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Files by what happens to them; they add up to `files`. At work: with a job, or with outputs that are being declared."""

    files: int
    done: int
    at_work: int
    waiting: int
    parked: int
    waived: int

    @property
    def fraction(self) -> float | None:
        return self.done / self.files if self.files else None


@dataclass(frozen=True, slots=True)
class Work:
    """All campaigns together. Files are counted once for each campaign by their last step, everything else is tasks.

    `backlog` waits for a slot or a retry, `blocked` for the stage before it, `running` is in the batch system. `in_lifetime` files were
    processed before the buffer had to give them up, `missed` ones were not or cannot be any more; `on_disk` is the fraction of both.
    """

    files: int
    processed: int
    fraction: float | None
    running: int
    queued: int
    backlog: int
    blocked: int
    reported: int
    parked: int
    late: int
    states: dict[str, int]
    counts: FileCounts
    in_lifetime: int
    missed: int
    on_disk: float | None


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run as one campaign's version sees it; `judged` files have a data-quality record."""

    run: int
    campaign: str
    version: str
    counts: FileCounts
    fraction: float | None
    late: int
    judged: int


Counts = Counter[tuple[str, TaskState]]


def read_work(connection: sa.Connection, campaigns: Campaigns) -> Work:
    """Everything there is to do and what is done."""
    c = count_table.c
    statement = (
        sa.select(c.campaign_id, c.step, c.state, c.late, sa.func.sum(c.tasks))
        .where(c.campaign_id.in_(campaigns))
        .group_by(c.campaign_id, c.step, c.state, c.late)
    )
    tasks_of: dict[int, Counts] = {}
    states: Counter[TaskState] = Counter()
    late = in_lifetime = missed = 0
    for campaign_id, step, state_name, is_late, count in connection.execute(statement):
        state, tasks = TaskState(state_name), int(count)
        tasks_of.setdefault(campaign_id, Counter())[step, state] += tasks
        states[state] += tasks
        late += tasks if is_late and state is not TaskState.DONE else 0
        if step == campaigns[campaign_id].final_step:
            in_lifetime += tasks if state is TaskState.DONE and not is_late else 0
            missed += tasks if is_late else 0
    counts = total(file_counts(tasks, campaigns[campaign_id].final_step) for campaign_id, tasks in tasks_of.items())
    return Work(
        files=counts.files,
        processed=counts.done,
        fraction=counts.fraction,
        running=states[TaskState.SUBMITTED] + states[TaskState.RUNNING],
        queued=states[TaskState.SUBMITTED],
        backlog=sum(states[state] for state in BACKLOG),
        blocked=states[TaskState.BLOCKED],
        reported=states[TaskState.REPORTED],
        parked=states[TaskState.PARKED],
        late=late,
        states={state.value: states[state] for state in TaskState if states[state]},
        counts=counts,
        in_lifetime=in_lifetime,
        missed=missed,
        on_disk=in_lifetime / (in_lifetime + missed) if in_lifetime + missed else None,
    )


def newest_runs(connection: sa.Connection, campaigns: Campaigns, limit: int = RUNS_SHOWN, *, below: int | None = None) -> list[int]:
    """The highest run numbers with tasks, highest first; with `below`, of those under it."""
    c = count_table.c
    statement = sa.select(c.run).where(c.campaign_id.in_(campaigns), c.tasks > 0).distinct().order_by(c.run.desc()).limit(limit)
    return list(connection.execute(statement if below is None else statement.where(c.run < below)).scalars())


def read_runs(connection: sa.Connection, campaigns: Campaigns, runs: Sequence[int]) -> list[RunProgress]:
    """How far each of these runs is, a row for each campaign's version; in the order of `runs`."""
    c = count_table.c
    statement = sa.select(c.run, c.campaign_id, c.step, c.state, c.late, c.tasks).where(
        c.run.in_(runs), c.campaign_id.in_(campaigns), c.tasks > 0
    )
    counts: dict[tuple[int, int], Counts] = {}
    late: Counter[tuple[int, int]] = Counter()
    for run, campaign_id, step, state_name, is_late, tasks in connection.execute(statement):
        state = TaskState(state_name)
        counts.setdefault((run, campaign_id), Counter())[step, state] += tasks
        late[run, campaign_id] += tasks if is_late and state is not TaskState.DONE else 0
    judged = _judged(connection, runs)
    rows = []
    for run in runs:
        for campaign in campaigns.values():
            if (run, campaign.id) in counts:
                of_files = file_counts(counts[run, campaign.id], campaign.final_step)
                rows.append(
                    RunProgress(
                        run=run,
                        campaign=campaign.name,
                        version=campaign.version,
                        counts=of_files,
                        fraction=of_files.fraction,
                        late=late[run, campaign.id],
                        judged=judged[run, campaign.name, campaign.version],
                    )
                )
    return rows


def file_counts(counts: Counts, final_step: str) -> FileCounts:
    """Files from the tasks of their steps: of a file's steps at most one is neither done nor blocked, and that one tells where it is."""
    by_state: Counter[TaskState] = Counter()
    files = 0
    for (step, state), tasks in counts.items():
        by_state[state] += tasks
        files += tasks if step == final_step else 0
    done = counts[final_step, TaskState.DONE]
    waived = counts[final_step, TaskState.WAIVED]
    at_work = by_state[TaskState.REPORTED] + sum(by_state[state] for state in IN_FLIGHT)
    parked = by_state[TaskState.PARKED]
    return FileCounts(files, done, at_work, max(0, files - done - waived - at_work - parked), parked, waived)


def total(parts: Iterable[FileCounts]) -> FileCounts:
    """The sum of `parts`."""
    columns = list(zip(*(astuple(part) for part in parts), strict=True)) or [(0,)] * 6
    return FileCounts(*(sum(column) for column in columns))


def _judged(connection: sa.Connection, runs: Sequence[int]) -> Counter[tuple[int, str, str]]:
    d = result_table.c
    key = (d.run, d.campaign, d.version)
    statement = sa.select(*key, sa.func.count()).where(d.run.in_(runs), d.shown).group_by(*key)
    return Counter({(run, campaign, version): number for run, campaign, version, number in connection.execute(statement)})
