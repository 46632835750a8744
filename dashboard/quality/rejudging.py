"""Judges records again by the limits and references in force: their old verdicts stay, the new ones count.

A record that was judged by these versions is left alone. So work that was interrupted goes on where it was, and again is quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from dashboard.dqm.record import read_record
from dashboard.dqm.rollup import RunKey
from dashboard.dqm.storage import RECORD, write_verdict
from dashboard.dqm.tables import result_table, run_table
from dashboard.quality.judging import Judge, Judgement
from dashboard.quality.limits import newest_version
from dashboard.quality.references import newest_reference
from dashboard.quality.tables import verdict_table
from dune_prompt.errors import DataError
from dune_prompt.store import Event, Store, record_events

log = structlog.get_logger(__name__)

ROOM = "dashboard"
# Verdicts written in one transaction: a second or so of work is lost when the process is killed.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Rejudged:
    """How far it is: of `records` so many are `judged`, of these so many have `changed` their flag; the files of some are `unreadable`."""

    records: int
    judged: int = 0
    changed: int = 0
    unreadable: int = 0

    @property
    def done(self) -> int:
        return self.judged + self.unreadable


Progress = Callable[[Rejudged], None]


def rejudge(
    store: Store,
    workspace: Path,
    *,
    run: int | None = None,
    since: float | None = None,
    by: str,
    clock: Callable[[], float] = time.time,
    progress: Progress = lambda _: None,
) -> Rejudged:
    """Judge the shown records of `run`, or of all runs that a record came of `since` then; all of them without either.

    `progress` is called after each batch. Record files are read one by one.
    """
    judge = Judge(store, workspace)
    with store.read() as connection:
        runs = _runs(connection, run, since)
        outdated = [_outdated(connection, key) for key in runs]
        records = sum(_count(connection, condition) for condition in outdated)
    state = Rejudged(records)
    for key, condition in zip(runs, outdated, strict=True):
        before = state
        for batch in _batches(store, condition):
            state = _judge_batch(store, workspace, judge, key, batch, state, clock())
            progress(state)
        if state.judged > before.judged:
            _record(store, key, state.judged - before.judged, state.changed - before.changed, by, clock())
    return state


def _runs(connection: sa.Connection, run: int | None, since: float | None) -> list[RunKey]:
    d = result_table.c
    statement = sa.select(d.campaign, d.version, d.run).where(d.shown).distinct().order_by(d.run, d.campaign, d.version)
    if run is not None:
        statement = statement.where(d.run == run)
    if since is not None:
        statement = statement.where(d.received_at >= since)
    return [(row.campaign, row.version, row.run) for row in connection.execute(statement)]


def _outdated(connection: sa.Connection, key: RunKey) -> sa.ColumnElement[bool]:
    """The condition of the records of a run whose verdict was not made with the versions in force."""
    d, v = result_table.c, verdict_table.c
    mine = sa.and_(d.campaign == key[0], d.version == key[1], d.run == key[2], d.shown)
    version = newest_version(connection)
    kinds = connection.execute(sa.select(d.detector, d.run_type).where(mine).distinct()).all()
    of_kinds = []
    for detector, run_type in kinds:
        reference_id = newest_reference(connection, detector, run_type)
        other = sa.or_(v.id.is_(None), v.limits_version != version, v.reference_id.is_distinct_from(reference_id))
        of_kinds.append(sa.and_(d.detector == detector, d.run_type == run_type, other))
    return sa.and_(mine, sa.or_(sa.false(), *of_kinds))


_JUDGED = result_table.outerjoin(verdict_table, verdict_table.c.id == result_table.c.verdict_id)


def _count(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(_JUDGED).where(condition)).scalar_one()


def _batches(store: Store, condition: sa.ColumnElement[bool]) -> Iterator[Sequence[Any]]:
    """The records, in batches in the order of their ids: what has been judged falls out of the condition, what cannot be is passed by."""
    d, last = result_table.c, 0
    while True:
        statement = sa.select(d.id, d.folder, d.flag).select_from(_JUDGED).where(condition, d.id > last).order_by(d.id).limit(BATCH)
        with store.read() as connection:
            batch = connection.execute(statement).all()
        if not batch:
            return
        yield batch
        last = batch[-1].id


def _judge_batch(store: Store, workspace: Path, judge: Judge, key: RunKey, batch: Sequence[Any], state: Rejudged, now: float) -> Rejudged:
    judgements: list[tuple[int, Judgement]] = []
    changed = 0
    for row in batch:
        try:
            judgement = judge(read_record((workspace / row.folder / RECORD).read_bytes()))
        except (OSError, DataError) as error:
            log.warning("a record cannot be judged again", folder=row.folder, error=str(error))
            continue
        changed += judgement.flag != row.flag
        judgements.append((row.id, judgement))
    r = run_table.c
    with store.write() as connection:
        for result_id, judgement in judgements:
            write_verdict(connection, result_id, judgement, now)
        if judgements:
            same = (r.campaign == key[0], r.version == key[1], r.run == key[2])
            connection.execute(sa.update(run_table).where(*same).values(stale=True))
    return replace(
        state,
        judged=state.judged + len(judgements),
        changed=state.changed + changed,
        unreadable=state.unreadable + len(batch) - len(judgements),
    )


def _record(store: Store, key: RunKey, judged: int, changed: int, by: str, now: float) -> None:
    campaign, version, run = key
    message = f"{campaign} {version}: {judged} records judged again, {changed} of them otherwise than before"
    with store.write() as connection:
        record_events(connection, [Event(now, ROOM, f"run:{run}", None, "rejudged", by, message)])
