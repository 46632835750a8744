"""Clocks that differ. Only what no delay can explain is found: something that happened, by one clock, before its cause by another."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from campaign.ledger.tables import attempt_table
from dashboard import words
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules.rule import Look, Rule
from dashboard.dqm.tables import result_table
from declare_daemon.journal.tables import file_table
from dune_prompt.store import event_table

RECENT_S = 3600.0
LAST = 1000


def _clock_skew(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    daemon_s, storage_s = _daemon_and_storage(connection, look.now)
    if daemon_s > limit:
        yield _finding("daemon", f"the declare daemon's clock is {words.duration(daemon_s)} ahead of the service's", "/")
    if storage_s > limit:
        yield _finding("buffer", f"the clock of the buffer's storage is {words.duration(storage_s)} ahead of the declare daemon's", "/")
    for host, ahead_s, behind_s in _workers(connection, look.now):
        off_s, side = max((ahead_s or 0.0, "ahead of"), (behind_s or 0.0, "behind"))
        if off_s > limit:
            yield _finding(host, f"the clock of worker {host} is at least {words.duration(off_s)} {side} the service's", "/jobs")


def _finding(subject: str, message: str, link: str) -> Finding:
    return Finding("clock_skew", subject, Severity.WARNING, message, link)


def _daemon_and_storage(connection: sa.Connection, now: float) -> tuple[float, float]:
    """By how many seconds the daemon writes in the service's future, and files are closed in the daemon's."""
    f, e = file_table.c, event_table.c
    # The last rows of all, by their number: that is the order of the table itself.
    newest = sa.select(f.origin, f.found_at, f.closed_at).order_by(f.id.desc()).limit(LAST).subquery()
    found_at, storage_s = connection.execute(
        sa.select(sa.func.max(newest.c.found_at), sa.func.max(newest.c.closed_at - newest.c.found_at)).where(
            newest.c.origin == "buffer", newest.c.found_at > now - RECENT_S
        )
    ).one()
    told_at = connection.execute(sa.select(sa.func.max(e.at)).where(e.at > now)).scalar_one()
    return max(found_at or now, told_at or now) - now, storage_s or 0.0


def _workers(connection: sa.Connection, now: float) -> list[tuple[str, float | None, float | None]]:
    """By host: by how much a record was made after it came, and by how much before its job was submitted."""
    d, a = result_table.c, attempt_table.c
    newest = sa.select(d.attempt, d.made_at, d.received_at).order_by(d.id.desc()).limit(LAST).subquery()
    query = (
        sa.select(a.host, sa.func.max(newest.c.made_at - newest.c.received_at), sa.func.max(a.submitted_at - newest.c.made_at))
        .join_from(newest, attempt_table, a.id == newest.c.attempt)
        .where(newest.c.received_at > now - RECENT_S, a.host.is_not(None))
        .group_by(a.host)
        .order_by(a.host)
    )
    return [(host, ahead, behind) for host, ahead, behind in connection.execute(query)]


RULES = (
    Rule(
        "clock_skew",
        "clocks differ",
        "Latencies, deadlines and the order of events cannot be trusted; tokens and certificates may be refused.",
        "Set the clock of the host that is named right (`chronyc tracking` there); for a worker, tell its site.",
        words.duration,
        _clock_skew,
    ),
)
