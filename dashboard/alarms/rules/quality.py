"""Rules about the detector: what was judged BAD in the runs of the last hours."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from dashboard import words
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules.rule import Look, Rule
from dashboard.dqm.metrics import Group
from dashboard.dqm.rollup import RolledRun, read_rolled
from dashboard.dqm.tables import run_table

RECENT_S = 6 * 3600.0
MOST_RUNS = 20


def _quality_bad(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    for run in _recent(connection, look.now):
        for element, groups in sorted(run.tiles.items()):
            for group, counts in sorted(groups.items()):
                if (bad := counts.get("bad", 0)) >= limit:
                    where = f"{element} {group}" if element else group
                    what = Group(group).words if group in set(Group) else group
                    message = f"{what}: BAD in {words.count(bad)} of the {words.count(run.judged)} judged files of run {run.run}"
                    if (first := _first_words(run, element, group)) is not None:
                        message += f". The worst: {first}"
                    link = f"/runs/{run.run}/quality"
                    yield Finding("quality_bad", f"run {run.run} {where}", Severity.ALARM, message, link)


def _recent(connection: sa.Connection, now: float) -> list[RolledRun]:
    """The runs that records came of lately."""
    r = run_table.c
    newest = sa.func.max(r.received_at)
    query = sa.select(r.run).where(r.received_at > now - RECENT_S).group_by(r.run).order_by(newest.desc()).limit(MOST_RUNS)
    runs = list(connection.execute(query).scalars())
    return [run for run in read_rolled(connection, runs) if run.received_at > now - RECENT_S]


def _first_words(run: RolledRun, element: str, group: str) -> str | None:
    """What the worst of its files has in this tile, in the words of the check."""
    for outlier in run.outliers:
        for finding in outlier.get("findings", ()):
            if (finding.get("element") or "", finding.get("group")) == (element, group):
                return str(finding.get("words"))
    return None


def _files(value: float) -> str:
    return f"{words.count(value)} BAD {'file' if value == 1 else 'files'} of a run"


RULES = (
    Rule(
        "quality_bad",
        "data quality is BAD",
        "Something in this element is outside an alarm limit in several files of the run: the detector, its electronics or its readout has "
        "changed, or the limit is wrong.",
        "Open the run's data quality: each finding says what it means and what to do. Tell the detector expert on call.",
        _files,
        _quality_bad,
    ),
)
