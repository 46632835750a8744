"""An alarm: its row as plain data, how far it is, and how rows are read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import sqlalchemy as sa

from dashboard.alarms.finding import Severity
from dashboard.alarms.tables import alarm_table
from dune_prompt.errors import ConfigError
from dune_prompt.state import State


class AlarmState(State):
    """How far an alarm is."""

    PENDING = "pending", "found, but not often enough in a row, or muted: nobody is told"
    RAISED = "raised", "somebody has to look"
    ACKNOWLEDGED = "acknowledged", "somebody looks after it"
    CLEARED = "cleared", "over"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A row of the alarm table. Times in seconds since the Unix epoch; `id` is 0 before it is written."""

    id: int
    key: str
    rule: str
    severity: Severity
    subject: str
    message: str
    owner: str
    link: str
    seen: int
    first_seen_at: float
    last_seen_at: float
    raised_at: float | None = None
    cleared_at: float | None = None
    cleared_by: str | None = None
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None
    acknowledged_until: float | None = None
    acknowledged_why: str | None = None

    @property
    def state(self) -> AlarmState:
        if self.cleared_at is not None:
            return AlarmState.CLEARED
        if self.raised_at is None:
            return AlarmState.PENDING
        return AlarmState.RAISED if self.acknowledged_at is None else AlarmState.ACKNOWLEDGED

    @property
    def lasted_s(self) -> float | None:
        """How long it was raised; None while it is."""
        return None if self.cleared_at is None or self.raised_at is None else self.cleared_at - self.raised_at


COLUMNS = [alarm_table.c[item.name] for item in fields(Alarm)]
_c = alarm_table.c


def alarm_of(row: Any) -> Alarm:
    """The alarm of a row of `COLUMNS`."""
    values: dict[str, Any] = dict(row._mapping)
    values["severity"] = Severity(values["severity"])
    return Alarm(**values)


def open_alarms(connection: sa.Connection, at: float) -> list[Alarm]:
    """The alarms that are raised: those nobody has acknowledged first, then by severity, the oldest first. Reads open ones only.

    One whose acknowledgement ended before `at` counts as not acknowledged.
    """
    query = sa.select(*COLUMNS).where(_c.cleared_at.is_(None), _c.raised_at.is_not(None), _c.raised_at <= at)
    alarms = [alarm_of(row) for row in connection.execute(query)]
    return sorted(
        alarms, key=lambda alarm: (is_looked_after(alarm, at), alarm.severity is Severity.WARNING, alarm.raised_at or 0.0, alarm.id)
    )


def is_looked_after(alarm: Alarm, at: float) -> bool:
    """Whether somebody has acknowledged it, and that still holds at `at`."""
    until = alarm.acknowledged_until
    return alarm.state is AlarmState.ACKNOWLEDGED and (until is None or until > at)


def pending_alarms(connection: sa.Connection) -> list[Alarm]:
    """What was found but is no alarm yet, or is muted; the oldest first."""
    query = sa.select(*COLUMNS).where(_c.cleared_at.is_(None), _c.raised_at.is_(None)).order_by(_c.first_seen_at, _c.id)
    return [alarm_of(row) for row in connection.execute(query)]


def raised_alarms(
    connection: sa.Connection,
    limit: int,
    *,
    which: Literal["open", "closed", "all"] = "all",
    since: float | None = None,
    before: int | None = None,
) -> list[Alarm]:
    """The alarms that were ever raised, the one that was found last first: with `since`, those that were not over then; with `before`,
    those with lower numbers."""
    query = sa.select(*COLUMNS).where(_c.raised_at.is_not(None))
    if which != "all":
        query = query.where(_c.cleared_at.is_(None) if which == "open" else _c.cleared_at.is_not(None))
    if since is not None:
        query = query.where(sa.or_(_c.cleared_at.is_(None), _c.cleared_at >= since))
    if before is not None:
        query = query.where(_c.id < before)
    return [alarm_of(row) for row in connection.execute(query.order_by(_c.id.desc()).limit(limit))]


def read_alarm(connection: sa.Connection, alarm_id: int, *, to_change: bool = False) -> Alarm:
    """The alarm of this number; locked where rows can be, if it is going to be changed.

    Raises:
        ConfigError: there is none.
    """
    query = sa.select(*COLUMNS).where(_c.id == alarm_id)
    row = connection.execute(query.with_for_update() if to_change else query).one_or_none()
    if row is None:
        raise ConfigError(f"there is no alarm {alarm_id}")
    return alarm_of(row)
