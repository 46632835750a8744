"""The book of alarms: writes what a look or a person changes, with its events and the notices to be sent, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa

from dashboard.alarms import transitions
from dashboard.alarms.alarm import COLUMNS, Alarm, alarm_of, read_alarm
from dashboard.alarms.notices import Recipient, announce
from dashboard.alarms.tables import alarm_table
from dashboard.alarms.transitions import Change, Looked
from dune_prompt.settings import Site
from dune_prompt.store import Event, Store, record_events

ROOM = "dashboard"
_MOST_EVENT_SUBJECT = 300
_c = alarm_table.c


class Book:
    """The alarms of one site. `recipients` are told of what changes."""

    def __init__(self, store: Store, site: Site, recipients: Sequence[Recipient]) -> None:
        self._store, self._site, self._recipients = store, site, recipients

    def enter(self, looked: Looked) -> list[Change]:
        """Write down a look; what has changed.

        Raises:
            TransientError: the store is away; nothing was written.
        """
        if not looked.findings and not self._any_open():
            return []
        with self._store.write() as connection:
            # Locked, so that an acknowledgement of the same moment is not lost.
            rows = connection.execute(sa.select(*COLUMNS).where(_c.cleared_at.is_(None)).with_for_update())
            changes = transitions.turn([alarm_of(row) for row in rows], looked, self._site.watch, self._site.alarms)
            return self._write(connection, changes, looked.at, None)

    def acknowledge(self, alarm_id: int, by: str, why: str, until: float | None, now: float) -> Alarm:
        """Write down that somebody looks after an alarm.

        Raises:
            ConfigError: there is none of this number. ConflictError: it is not raised.
        """
        with self._store.write() as connection:
            change = transitions.acknowledge(read_alarm(connection, alarm_id, to_change=True), by, why, until, now)
            self._write(connection, [change], now, by)
        return change.alarm

    def _any_open(self) -> bool:
        with self._store.read() as connection:
            return connection.execute(sa.select(_c.id).where(_c.cleared_at.is_(None)).limit(1)).first() is not None

    def _write(self, connection: sa.Connection, changes: Iterable[Change], now: float, by: str | None) -> list[Change]:
        written = [_keep(connection, change) for change in changes]
        record_events(connection, [_event(change, now, by) for change in written if change.notice is not None or by is not None])
        announce(connection, written, self._recipients, now)
        return written


def _keep(connection: sa.Connection, change: Change) -> Change:
    """Write the row of an alarm; the change with its number."""
    alarm = change.alarm
    if change.forgotten:
        connection.execute(sa.delete(alarm_table).where(_c.id == alarm.id))
        return change
    values = asdict(alarm) | {"severity": alarm.severity.value}
    del values["id"]
    if change.before is not None:
        connection.execute(sa.update(alarm_table).where(_c.id == alarm.id).values(**values))
        return change
    written = connection.execute(sa.insert(alarm_table).values(**values).returning(_c.id)).scalar_one()
    return replace(change, alarm=replace(alarm, id=written))


def _event(change: Change, now: float, by: str | None) -> Event:
    """The event of a change: what a person said, or what the rule did."""
    alarm = change.alarm
    message = alarm.acknowledged_why if by is not None else alarm.message
    if by is None and alarm.cleared_by is not None:
        message = f"cleared by {alarm.cleared_by}; it was: {alarm.message}"
    before = None if change.before is None else change.before.value
    return Event(now, ROOM, f"alarm:{alarm.key}"[:_MOST_EVENT_SUBJECT], before, alarm.state.value, by, message)
