"""The attempts that are in flight: which job, where, for how long, and when it was heard of last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from campaign.engine.contact import WRITE_EVERY_S
from campaign.ledger.tables import attempt_table, campaign_table, task_table
from campaign.states import AttemptState

A_PAGE = 100
# Jobs send a heartbeat a minute. One that has missed three of them is looked at first.
STALE_S = 180.0 + WRITE_EVERY_S
SORTS = {"heartbeat": "last heard", "age": "age", "lease": "lease", "deadline": "deadline"}
DEFAULT_SORT = "heartbeat"
STATES = (AttemptState.SUBMITTING, AttemptState.SUBMITTED, AttemptState.RUNNING)


@dataclass(frozen=True, slots=True)
class JobsChoice:
    """The state of the page, all of it in the address; None: everything."""

    launcher: str | None = None
    campaign: str | None = None
    step: str | None = None
    state: str | None = None
    host: str | None = None
    sort: str = DEFAULT_SORT
    page: int = 1

    @property
    def filtered(self) -> bool:
        return replace(self, sort=DEFAULT_SORT, page=1) != JobsChoice()

    def link(self, **changes: Any) -> str:
        """The address with some things chosen differently; other jobs begin with the first page."""
        chosen = replace(self, **({"page": 1} | changes))
        values = {name: getattr(chosen, name) for name in ("launcher", "campaign", "step", "state", "host", "sort", "page")}
        usual = {"sort": DEFAULT_SORT, "page": 1}
        query = urlencode({name: value for name, value in values.items() if value is not None and usual.get(name) != value})
        return "/jobs" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt in flight. Times in seconds since the epoch; `heard_at`: its last sign of life (a heartbeat, or that it began)."""

    attempt: str
    number: int
    state: AttemptState
    stages: Sequence[str]
    step: str
    campaign: str
    version: str
    run: int
    file_index: int | None
    input_did: str
    launcher: str
    handle: str | None
    host: str | None
    submitted_at: float | None
    started_at: float | None
    heartbeat_at: float | None
    created_at: float
    lease_until: float
    deadline: float
    memory_bytes: int | None

    @property
    def since(self) -> float:
        """When it got into the state it is in."""
        return (self.started_at if self.state is AttemptState.RUNNING else self.submitted_at) or self.created_at

    @property
    def heard_at(self) -> float | None:
        return max((at for at in (self.heartbeat_at, self.started_at) if at is not None), default=None)

    def is_stale(self, now: float) -> bool:
        """Whether its job should have been heard of since; what waits in a queue is silent."""
        silent = self.state is AttemptState.RUNNING and (self.heard_at is None or now - self.heard_at > STALE_S)
        return silent or self.lease_until < now


@dataclass(frozen=True, slots=True)
class LauncherCounts:
    """The jobs of one batch system."""

    launcher: str
    running: int
    queued: int
    starting: int


@dataclass(frozen=True, slots=True)
class JobsPage:
    """The page: `jobs` of the `fitting` ones, of them `stale`; `options`: what there is to filter by."""

    jobs: list[Job]
    fitting: int
    stale: int
    first: int
    page: int
    pages: int
    launchers: list[LauncherCounts]
    options: Mapping[str, list[str]]


def read_jobs(connection: sa.Connection) -> list[Job]:
    """All attempts without an end."""
    a, t, k = attempt_table.c, task_table.c, campaign_table.c
    statement = (
        sa.select(
            a.id,
            a.number,
            a.state,
            a.stages,
            t.step,
            k.name,
            k.version,
            t.run,
            t.file_index,
            t.input_did,
            a.launcher,
            a.handle,
            a.host,
            a.submitted_at,
            a.started_at,
            a.heartbeat_at,
            a.created_at,
            a.lease_until,
            t.deadline,
            a.memory_bytes,
        )
        .select_from(attempt_table.join(task_table, t.id == a.task_id).join(campaign_table, k.id == t.campaign_id))
        .where(a.ended_at.is_(None))
    )
    return [_job(*row) for row in connection.execute(statement)]


def _job(attempt: str, number: int, state: str, stages: str, *rest: Any) -> Job:
    return Job(attempt, number, AttemptState(state), tuple(stages.split(",")), *rest)


def read_page(connection: sa.Connection, choice: JobsChoice, now: float) -> JobsPage:
    """A page of the jobs that fit `choice`, those that should have been heard of first."""
    every = read_jobs(connection)
    fitting = [job for job in every if _fits(job, choice)]
    fitting.sort(key=lambda job: (not job.is_stale(now), *_order(job, choice.sort)))
    pages = max(1, -(-len(fitting) // A_PAGE))
    page = min(max(choice.page, 1), pages)
    first = (page - 1) * A_PAGE
    return JobsPage(
        jobs=fitting[first : first + A_PAGE],
        fitting=len(fitting),
        stale=sum(job.is_stale(now) for job in fitting),
        first=first + 1,
        page=page,
        pages=pages,
        launchers=_launchers(every),
        options={
            "launcher": sorted({job.launcher for job in every}),
            "campaign": sorted({f"{job.campaign} {job.version}" for job in every}),
            "step": sorted({job.step for job in every}),
            "state": [state.value for state in STATES],
            "host": sorted({job.host for job in every if job.host}),
        },
    )


def _fits(job: Job, choice: JobsChoice) -> bool:
    return (
        choice.launcher in (None, job.launcher)
        and choice.campaign in (None, f"{job.campaign} {job.version}", job.campaign)
        and (choice.step is None or choice.step == job.step or choice.step in job.stages)
        and choice.state in (None, job.state.value)
        and choice.host in (None, job.host)
    )


def _order(job: Job, sort: str) -> tuple[Any, ...]:
    """The longest silent, the oldest, the next to lose its lease, the next to be late first; what has no such time comes last."""
    at = {"heartbeat": job.heard_at, "age": job.since, "lease": job.lease_until, "deadline": job.deadline}[sort]
    return (at is None, at or 0.0, job.attempt)


def _launchers(jobs: Sequence[Job]) -> list[LauncherCounts]:
    number = Counter((job.launcher, job.state) for job in jobs)
    return [
        LauncherCounts(
            launcher=launcher,
            running=number[launcher, AttemptState.RUNNING],
            queued=number[launcher, AttemptState.SUBMITTED],
            starting=number[launcher, AttemptState.SUBMITTING],
        )
        for launcher in sorted({job.launcher for job in jobs})
    ]
