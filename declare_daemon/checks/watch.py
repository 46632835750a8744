"""Remembers alarms in the event table, so that each is told once: when it comes, when it gets worse, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.checks.expiry import EXPIRED, LEVELS
from declare_daemon.checks.result import FAILED_ALARM, Result
from dune_prompt.store import Event, Store, event_table, record_events

ROOM = "declare"
OVER = "ok"
ALARMS = (FAILED_ALARM, EXPIRED, *(name for _, name in LEVELS))


@dataclass(frozen=True, slots=True)
class Change:
    """A result whose alarm is another one than before; `after` is `ok` when it is over."""

    result: Result
    before: str
    after: str


def record_changes(store: Store, results: Sequence[Result], now: float) -> list[Change]:
    """What has changed since the last time, written into the event table.

    Raises:
        TransientError: the store is away.
    """
    with store.write() as connection:
        last = last_alarms(connection, [result.subject for result in results])
        changes = [
            Change(result, before, after)
            for result in results
            if (before := last.get(result.subject, OVER)) != (after := result.alarm or OVER)
        ]
        record_events(
            connection,
            [Event(now, ROOM, change.result.subject, change.before, change.after, None, change.result.detail) for change in changes],
        )
    return changes


def last_alarms(connection: sa.Connection, subjects: Sequence[str]) -> dict[str, str]:
    """The last alarm that was told of each subject, `ok` if that was its end; subjects nothing was told of are absent."""
    c = event_table.c
    newest = sa.select(sa.func.max(c.id)).where(c.room == ROOM, c.subject.in_(subjects), c.after.in_((*ALARMS, OVER))).group_by(c.subject)
    query = sa.select(c.subject, c.after).where(c.id.in_(newest))
    return {subject: after for subject, after in connection.execute(query)}  # noqa: C416 - rows become pairs
