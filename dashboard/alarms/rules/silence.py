"""Rules for what should have happened and has not: a service that died complains of nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from campaign.probe import history
from campaign.probe.tables import probe_table
from campaign.probe.verdict import Outcome
from dashboard import words
from dashboard.alarms.finding import Finding, Severity
from dashboard.alarms.rules.rule import Look, Rule
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import lease_name
from dune_prompt.store import lease_table


def _no_file(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    newest = _newest_file(connection, look)
    if newest is None or not limit < (silent_s := look.now - newest.found_at) <= look.site.watch.run_over_after:
        return
    subject = f"run {newest.run}" if newest.run is not None else "raw files"
    link = f"/runs/{newest.run}" if newest.run is not None else "/"
    last = f"the last one, {newest.name}, was found at {words.moment(newest.found_at)} UTC"
    yield Finding("no_file_for", subject, Severity.ALARM, f"no new raw file for {words.duration(silent_s)}; {last}", link)


def _newest_file(connection: sa.Connection, look: Look) -> sa.Row[Any] | None:
    """The raw file found last, of the streams that are processed; probes say nothing about a run. An index lookup for each stream."""
    f = file_table.c
    real = sa.true() if look.site.probe is None else sa.or_(f.run.is_(None), f.run != look.site.probe.run)
    found: list[Any] = []
    for stream in look.site.streams:
        if stream.process:
            query = sa.select(f.run, f.name, f.found_at).where(f.stream == stream.name, f.origin == "buffer", real)
            found += connection.execute(query.order_by(f.id.desc()).limit(1)).all()
    return max(found, key=lambda row: row.found_at, default=None)


def _no_decision(_connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    silent_s = look.now - look.decided_at
    if silent_s <= limit:
        return
    holder = look.operations.services.engine
    who = "no process holds the engine's lease" if holder is None else f"the engine ({holder}) is there, but its steps do not get through"
    message = f"nothing was decided for {words.duration(silent_s)}: {who}"
    yield Finding("no_decision_for", "engine", Severity.ALARM, message, "/")


def _no_heartbeat(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    lease = connection.execute(sa.select(lease_table).where(lease_table.c.name == lease_name(look.site.buffer.path))).one_or_none()
    if lease is None:
        message = "no declare daemon has ever run on this buffer"
    elif lease.expires_at == 0:
        message = f"the declare daemon ({lease.holder}) was stopped, and none was started"
    elif look.now - lease.expires_at > limit:
        silent_s = look.now - lease.expires_at
        message = f"the declare daemon ({lease.holder}) has not renewed its lease, which ran out {words.duration(silent_s)} ago"
    else:
        return
    yield Finding("no_heartbeat_for", "declare daemon", Severity.ALARM, message, "/")


def _no_good_probe(connection: sa.Connection, look: Look, limit: float) -> Iterator[Finding]:
    if look.site.probe is None:
        return
    p = probe_table.c
    good_at = connection.execute(sa.select(sa.func.max(p.ended_at)).where(p.outcome == Outcome.OK)).scalar_one()
    silent_s = look.now - (look.watching_since if good_at is None else good_at)
    if silent_s <= limit:
        return
    last = next(iter(history.newest(connection, 1)), None)
    since = "since the service was started" if good_at is None else f"for {words.duration(silent_s)}"
    how = "none was sent" if last is None else f"the last one is {last.outcome or 'under way'}"
    if last is not None and last.message:
        how += f": {last.message}"
    yield Finding("no_good_probe_for", "probe", Severity.WARNING, f"no probe came through as it should {since}; {how}", "/")


RULES = (
    Rule(
        "no_file_for",
        "a run is going, and no new raw file comes",
        "The data acquisition has stopped, files do not reach the buffer, or the declare daemon does not see them.",
        "Ask the run coordinator whether data are being taken. If they are: look whether new files are in the buffer; if so, look at the "
        "declare daemon (`dune-prompt declare status`), if not, at the transfer from the data acquisition.",
        words.duration,
        _no_file,
    ),
    Rule(
        "no_decision_for",
        "the engine decides nothing",
        "No job is started and no result is taken while this lasts; jobs at work go on, and nothing is lost.",
        "Look at the service (`systemctl status`, its log). A step that fails says why there; restarting it is always safe.",
        words.duration,
        _no_decision,
    ),
    Rule(
        "no_heartbeat_for",
        "the declare daemon gives no sign of life",
        "New files are not noticed, nothing is declared, and nothing leaves the buffer, which fills.",
        "Look at the daemon on its host (`systemctl status`, its log). One that hangs in a dead mount must be killed; starting it again is "
        "always safe.",
        words.duration,
        _no_heartbeat,
    ),
    Rule(
        "no_good_probe_for",
        "no probe comes through as it should",
        "The chain from buffer to data quality is slow or broken somewhere, or the probe's timer does not run.",
        "`dune-prompt campaign probe --history` says how far the last ones came, and how long each hop took.",
        words.duration,
        _no_good_probe,
    ),
)
