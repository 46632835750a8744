"""Marks: one short text for each thing a page may show. A page whose mark has changed looks again."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from dashboard.alarms.tables import alarm_table
from dashboard.dqm.tables import run_table
from dashboard.operations.work import RunProgress

Marks = dict[str, str]


def read_marks(connection: sa.Connection) -> Marks:
    """The marks of `quality` (any run was rolled up) and of `alarms`."""
    a = alarm_table.c
    rolled = connection.execute(sa.select(sa.func.max(run_table.c.rolled_at))).scalar()
    alarms = connection.execute(
        sa.select(sa.func.count(), sa.func.max(a.raised_at), sa.func.max(a.acknowledged_at)).where(a.cleared_at.is_(None))
    ).one()
    return {"quality": f"{rolled or 0:.3f}", "alarms": " ".join(f"{value or 0:.3f}" for value in alarms)}


def run_marks(runs: Iterable[RunProgress]) -> Marks:
    """The mark of each run, `run:NUMBER`, and of all of them together, `runs`."""
    marks: Marks = {}
    for row in runs:
        key, counts = f"run:{row.run}", row.counts
        marks[key] = marks.get(key, "") + f"{counts.files} {counts.done} {counts.at_work} {counts.parked} {row.judged};"
    return marks | {"runs": f"{hash(tuple(sorted(marks.items()))):x}"}
