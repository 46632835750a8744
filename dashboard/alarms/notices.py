"""Notices: what has to be sent to whom. They are written in the transaction of what they tell, and sent by somebody else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from dashboard.alarms.alarm import Alarm, read_alarm
from dashboard.alarms.tables import notice_table
from dashboard.alarms.transitions import Change
from dune_prompt.settings.alarms import NoticeKind

FIRST_DELAY_S = 15.0
LONGEST_DELAY_S = 900.0
MOST_ERROR = 500
_n = notice_table.c


class Recipient(Protocol):
    """Who is told, under which name, and of what."""

    @property
    def name(self) -> str: ...

    @property
    def events(self) -> Collection[NoticeKind]: ...


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that is to be sent. The same one may arrive twice; it has the same `id` then."""

    id: int
    what: str
    at: float
    tries: int
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a recipient is served: notices that wait, since when, and why the last try failed; when one was sent last."""

    target: str
    waiting: int
    waiting_since: float | None
    error: str | None
    sent_at: float | None


def announce(connection: sa.Connection, changes: Iterable[Change], recipients: Sequence[Recipient], now: float) -> None:
    """Write the notices of `changes`."""
    rows: list[dict[str, Any]] = [
        {"alarm_id": change.alarm.id, "target": recipient.name, "what": change.notice, "created_at": now, "next_try": now}
        for change in changes
        if change.notice is not None
        for recipient in recipients
        if change.notice in recipient.events
    ]
    if rows:
        connection.execute(sa.insert(notice_table), rows)


def next_notice(connection: sa.Connection, target: str, now: float) -> Notice | None:
    """The oldest notice `target` has not got, if it is time to try: nothing overtakes one that waits."""
    query = sa.select(notice_table).where(_n.sent_at.is_(None), _n.target == target).order_by(_n.id).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None or row.next_try > now:
        return None
    return Notice(row.id, row.what, row.created_at, row.tries, read_alarm(connection, row.alarm_id))


def was_sent(connection: sa.Connection, notice: Notice, now: float) -> None:
    connection.execute(sa.update(notice_table).where(_n.id == notice.id).values(sent_at=now, tries=notice.tries + 1, error=None))


def was_refused(connection: sa.Connection, notice: Notice, why: str, now: float) -> None:
    """Try it again later: after 15 s, then after twice as long each, at most 15 min."""
    delay_s = min(FIRST_DELAY_S * 2.0 ** min(notice.tries, 10), LONGEST_DELAY_S)
    values = {"tries": notice.tries + 1, "error": why[:MOST_ERROR], "next_try": now + delay_s}
    connection.execute(sa.update(notice_table).where(_n.id == notice.id).values(**values))


def forget(connection: sa.Connection, targets: Collection[str]) -> int:
    """Remove what waits for recipients other than `targets`, which the site file no longer names; how many notices there were."""
    return connection.execute(sa.delete(notice_table).where(_n.sent_at.is_(None), _n.target.not_in(targets))).rowcount


def deliveries(connection: sa.Connection, targets: Sequence[str]) -> list[Delivery]:
    """How each of `targets` is served."""
    found = []
    for target in targets:
        waiting, since = connection.execute(
            sa.select(sa.func.count(), sa.func.min(_n.created_at)).where(_n.sent_at.is_(None), _n.target == target)
        ).one()
        head = sa.select(_n.error).where(_n.sent_at.is_(None), _n.target == target).order_by(_n.id).limit(1)
        error = connection.execute(head).scalar_one_or_none()
        sent = sa.select(_n.sent_at).where(_n.sent_at.is_not(None), _n.target == target).order_by(_n.id.desc()).limit(1)
        found.append(Delivery(target, waiting, since, error, connection.execute(sent).scalar_one_or_none()))
    return found
