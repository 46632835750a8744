"""The table of all runs: each as a campaign's version sees it, filtered, sorted, and read a hundred at a time.

One query over the ledger's counts, the roll-ups of data quality and people's flags; its cost grows with the number of runs, not of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from campaign.ledger.tables import campaign_table, count_table, exclusion_table
from campaign.states import IN_FLIGHT, TaskState
from dashboard.dqm.tables import run_table
from dashboard.operations.campaigns import Campaigns, final_steps
from dashboard.operations.work import FileCounts
from dashboard.quality.flags import Flag
from dashboard.quality.tables import run_flag_table
from dashboard.runs.listing_choice import FLAGS, Position, RunsChoice

A_PAGE = 100


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as one campaign's version sees it. `flag`: how the machine judges it, `people`: what people say (None: nothing)."""

    run: int
    campaign_id: int
    campaign: str
    version: str
    detector: str
    run_type: str
    counts: FileCounts
    late: int
    data_from: float | None
    records: int
    n_bad: int
    n_medium: int
    n_good: int
    flag: Flag
    people: Flag | None
    excluded: bool

    @property
    def fraction(self) -> float | None:
        return self.counts.fraction


@dataclass(frozen=True, slots=True)
class Totals:
    """All rows that fit the filter together."""

    rows: int
    files: int
    done: int
    parked: int
    late: int

    @property
    def fraction(self) -> float | None:
        return self.done / self.files if self.files else None


@dataclass(frozen=True, slots=True)
class RunsPage:
    """A page of the table. `next`: where the next one begins; None: this is the last."""

    rows: list[RunRow]
    totals: Totals
    next: Position | None


@dataclass(frozen=True, slots=True)
class Options:
    """What there is to filter by."""

    campaigns: Sequence[str]
    versions: Sequence[str]
    detectors: Sequence[str]
    run_types: Sequence[str]


def read_options(connection: sa.Connection) -> Options:
    """The values that occur."""
    k, r = campaign_table.c, run_table.c

    def distinct(column: sa.ColumnElement[str]) -> list[str]:
        return [value for value in connection.execute(sa.select(column).distinct().order_by(column)).scalars() if value]

    return Options(distinct(k.name), distinct(k.version), distinct(k.detector), distinct(r.run_type))


def read_page(connection: sa.Connection, campaigns: Campaigns, choice: RunsChoice, limit: int = A_PAGE) -> RunsPage:
    """A page of the runs that fit `choice`, and the totals of all that fit."""
    table = _table(campaigns, choice)
    fitting = _fitting(table, choice)
    t = table.c
    sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (t.files, t.done, t.parked, t.late)]
    totals = Totals(*(int(value) for value in connection.execute(sa.select(sa.func.count(), *sums).where(*fitting)).one()))
    key = _sort_key(table, choice.column)
    # Of equals the newest run stands first, however the column is sorted.
    order = (key.desc() if choice.descending else key.asc(), t.run.desc(), t.campaign_id.desc())
    statement = sa.select(table, key.label("key")).where(*fitting).order_by(*order).limit(limit + 1)
    if choice.after is not None:
        statement = statement.where(_behind(key, table, choice.after, descending=choice.descending))
    found = connection.execute(statement).all()
    last = found[limit - 1] if len(found) > limit else None
    return RunsPage(
        rows=[_row(row) for row in found[:limit]],
        totals=totals,
        next=None if last is None else Position(last.key, last.run, last.campaign_id),
    )


def _table(campaigns: Campaigns, choice: RunsChoice) -> sa.Subquery:
    """All rows, with everything that is shown of them, filtered by what the counts themselves have."""
    c, k, r, f, x = count_table.c, campaign_table.c, run_table.c, run_flag_table.c, exclusion_table.c
    counted = [item.id for item in campaigns.values() if _is_chosen(item.name, item.version, item.detector, choice)]
    final = c.step.in_(final_steps(campaigns))

    def tasks(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.sum(sa.case((sa.and_(*conditions), c.tasks), else_=0)), sa.Integer)

    at_work = c.state.in_([TaskState.REPORTED.value, *(state.value for state in IN_FLIGHT)])
    counts = (
        sa.select(
            c.campaign_id,
            c.run,
            tasks(final).label("files"),
            tasks(final, c.state == TaskState.DONE).label("done"),
            tasks(final, c.state == TaskState.WAIVED).label("waived"),
            tasks(at_work).label("at_work"),
            tasks(c.state == TaskState.PARKED).label("parked"),
            tasks(c.late, c.state != TaskState.DONE).label("late"),
        )
        .where(c.tasks > 0, c.campaign_id.in_(counted), *_runs_of(c.run, choice))
        .group_by(c.campaign_id, c.run)
        .subquery("counts")
    )
    n = counts.c
    every = run_flag_table.alias().c
    latest = sa.select(sa.func.max(every.id)).where(every.run == n.run).scalar_subquery()
    said = sa.case((f.flag != Flag.NULL.value, f.flag))
    flags = ((r.n_bad > 0, Flag.BAD), (r.n_medium > 0, Flag.MEDIUM), (r.n_good > 0, Flag.GOOD))
    by_machine = sa.case(*((judged, flag.value) for judged, flag in flags), else_=Flag.NULL.value)
    excluded = sa.exists().where(x.run == n.run, x.campaign.in_(("", k.name)))
    rolled = sa.and_(r.campaign == k.name, r.version == k.version, r.run == n.run)
    waiting = n.files - n.done - n.waived - n.at_work - n.parked
    statement = sa.select(
        n.run,
        n.campaign_id,
        k.name,
        k.version,
        k.detector,
        sa.func.coalesce(r.run_type, "").label("run_type"),
        n.files,
        n.done,
        n.at_work,
        sa.case((waiting > 0, waiting), else_=0).label("waiting"),
        n.parked,
        n.waived,
        n.late,
        r.data_from,
        sa.func.coalesce(r.files, 0).label("records"),
        sa.func.coalesce(r.n_bad, 0).label("n_bad"),
        sa.func.coalesce(r.n_medium, 0).label("n_medium"),
        sa.func.coalesce(r.n_good, 0).label("n_good"),
        by_machine.label("flag"),
        said.label("people"),
        excluded.label("excluded"),
    ).select_from(counts.join(campaign_table, k.id == n.campaign_id).outerjoin(run_table, rolled).outerjoin(run_flag_table, f.id == latest))
    return statement.subquery("runs")


def _is_chosen(name: str, version: str, detector: str, choice: RunsChoice) -> bool:
    return choice.campaign in (None, name) and choice.version in (None, version) and choice.detector in (None, detector)


def _runs_of(column: sa.ColumnElement[int], choice: RunsChoice) -> list[sa.ColumnElement[bool]]:
    limits: list[sa.ColumnElement[bool]] = []
    if choice.from_run is not None:
        limits.append(column >= choice.from_run)
    if choice.to_run is not None:
        limits.append(column <= choice.to_run)
    return limits


def _counts_flag(table: sa.Subquery) -> sa.ColumnElement[int]:
    """The flag that counts: what people say outranks the machine."""
    return sa.func.coalesce(table.c.people, table.c.flag)


def _fitting(table: sa.Subquery, choice: RunsChoice) -> list[sa.ColumnElement[bool]]:
    t = table.c
    states: Mapping[str, sa.ColumnElement[bool]] = {
        "open": t.at_work + t.waiting > 0,
        "complete": t.done + t.waived == t.files,
        "parked": t.parked > 0,
        "late": t.late > 0,
    }
    fitting = [t.files > 0]
    if choice.run_type is not None:
        fitting.append(t.run_type == choice.run_type)
    if choice.state is not None:
        fitting.append(states[choice.state])
    if choice.flag is not None:
        fitting.append(_counts_flag(table) == FLAGS[choice.flag].value)
    return fitting


def _sort_key(table: sa.Subquery, column: str) -> sa.ColumnElement[Any]:
    t = table.c
    keys: Mapping[str, sa.ColumnElement[Any]] = {
        "run": t.run,
        "detector": t.detector,
        "type": t.run_type,
        "files": t.files,
        "done": sa.cast(t.done, sa.Double) / sa.cast(t.files, sa.Double),
        "work": t.at_work,
        "parked": t.parked,
        "late": t.late,
        "taken": sa.func.coalesce(t.data_from, 0.0),
        "flag": _counts_flag(table),
    }
    return keys[column]


def _behind(key: sa.ColumnElement[Any], table: sa.Subquery, place: Position, *, descending: bool) -> sa.ColumnElement[bool]:
    t = table.c
    further = key < place.value if descending else key > place.value
    same_run = sa.and_(t.run == place.run, t.campaign_id < place.campaign_id)
    return sa.or_(further, sa.and_(key == place.value, sa.or_(t.run < place.run, same_run)))


def _row(row: Any) -> RunRow:
    return RunRow(
        run=row.run,
        campaign_id=row.campaign_id,
        campaign=row.name,
        version=row.version,
        detector=row.detector,
        run_type=row.run_type,
        counts=FileCounts(row.files, row.done, row.at_work, row.waiting, row.parked, row.waived),
        late=row.late,
        data_from=row.data_from,
        records=row.records,
        n_bad=row.n_bad,
        n_medium=row.n_medium,
        n_good=row.n_good,
        flag=Flag(row.flag),
        people=None if row.people is None else Flag(row.people),
        excluded=bool(row.excluded),
    )
