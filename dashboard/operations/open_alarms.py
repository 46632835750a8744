"""The alarms that wait for somebody, as the strip on top of the page shows them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dashboard.alarms.tables import alarm_table

# From bad to worse; one that is not known here is taken as the worst.
SEVERITIES = ("warning", "alarm")


@dataclass(frozen=True, slots=True)
class WorstAlarm:
    """The alarm to look at first: of the worst severity, the one that is open for the longest time."""

    severity: str
    subject: str
    message: str
    raised_at: float


@dataclass(frozen=True, slots=True)
class OpenAlarms:
    """How many alarms of each severity are raised and neither over nor acknowledged, the worst severity first."""

    by_severity: dict[str, int]
    worst: WorstAlarm | None

    @property
    def total(self) -> int:
        return sum(self.by_severity.values())


def read_open_alarms(connection: sa.Connection, now: float) -> OpenAlarms:
    """The open alarms; an acknowledgement counts until its time is over."""
    a = alarm_table.c
    acknowledged = sa.and_(a.acknowledged_at.is_not(None), sa.or_(a.acknowledged_until.is_(None), a.acknowledged_until > now))
    statement = (
        sa.select(a.severity, a.subject, a.message, a.raised_at)
        .where(a.cleared_at.is_(None), a.raised_at.is_not(None), sa.not_(acknowledged))
        .order_by(a.raised_at, a.id)
    )
    alarms = [WorstAlarm(*row) for row in connection.execute(statement)]
    alarms.sort(key=_badness, reverse=True)
    by_severity: dict[str, int] = {}
    for alarm in alarms:
        by_severity[alarm.severity] = by_severity.get(alarm.severity, 0) + 1
    return OpenAlarms(by_severity, alarms[0] if alarms else None)


def _badness(alarm: WorstAlarm) -> int:
    return SEVERITIES.index(alarm.severity) if alarm.severity in SEVERITIES else len(SEVERITIES)
