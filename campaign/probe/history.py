"""The probes that were sent and the numbers that are expected: the queries of their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import sqlalchemy as sa

from campaign.probe.tables import expected_table, probe_table
from campaign.probe.verdict import Outcome
from declare_daemon.journal import waive_obligations
from declare_daemon.journal.tables import obligation_table
from dune_prompt.store import Event, record_events

ROOM = "campaign"
SUBJECT = "probe"


@dataclass(frozen=True, slots=True)
class Probe:
    """A row of the probe table; `outcome` is None while it is under way."""

    id: str
    name: str
    did: str
    campaign: str
    version: str
    code_version: str
    raw: str
    made_at: float
    sent_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    message: str | None = None
    hops: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    launcher: str | None = None
    host: str | None = None


def _values(probe: Probe) -> dict[str, Any]:
    values = {item.name: getattr(probe, item.name) for item in fields(Probe)}
    return values | {"outcome": None if probe.outcome is None else probe.outcome.value}


def _probe(row: Any) -> Probe:
    values: dict[str, Any] = dict(row._mapping)
    values["outcome"] = None if values["outcome"] is None else Outcome(values["outcome"])
    return Probe(**values)


def begin(connection: sa.Connection, probe: Probe) -> None:
    connection.execute(sa.insert(probe_table).values(**_values(probe)))


def write(connection: sa.Connection, probe: Probe) -> None:
    """Write the probe as it is now."""
    connection.execute(sa.update(probe_table).where(probe_table.c.id == probe.id).values(**_values(probe)))


def end(connection: sa.Connection, probe: Probe, outcome: Outcome, message: str, now: float) -> Probe:
    """Write down how it ended; an outcome that is another one than before leaves an event, which is the alarm or its end."""
    ended = replace(probe, outcome=outcome, message=message, ended_at=now)
    before = latest_outcome(connection)
    write(connection, ended)
    if outcome is not (before or Outcome.OK):
        record_events(
            connection, [Event(now, ROOM, SUBJECT, (before or Outcome.OK).value, outcome.value, None, f"{probe.name}: {message}"[:2000])]
        )
    return ended


def latest_outcome(connection: sa.Connection) -> Outcome | None:
    """How the last probe that has ended did so."""
    c = probe_table.c
    query = sa.select(c.outcome).where(c.outcome.is_not(None)).order_by(c.ended_at.desc(), c.id.desc()).limit(1)
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else Outcome(found)


def newest(connection: sa.Connection, limit: int) -> list[Probe]:
    """The last `limit` probes, newest first."""
    return [_probe(row) for row in connection.execute(sa.select(probe_table).order_by(probe_table.c.id.desc()).limit(limit))]


def under_way(connection: sa.Connection) -> list[Probe]:
    """Those without an outcome: when no other process probes, theirs has died."""
    return [_probe(row) for row in connection.execute(sa.select(probe_table).where(probe_table.c.outcome.is_(None)))]


def unsent(connection: sa.Connection, since: float) -> list[Probe]:
    """Those made after `since` of which nobody wrote down that their file was whole in the buffer."""
    query = sa.select(probe_table).where(probe_table.c.sent_at.is_(None), probe_table.c.made_at > since)
    return [_probe(row) for row in connection.execute(query)]


def unfinished(connection: sa.Connection, since: float) -> list[Probe]:
    """Those sent after `since` that have ended without passing every hop."""
    query = sa.select(probe_table).where(probe_table.c.outcome.is_not(None), probe_table.c.sent_at > since).order_by(probe_table.c.id)
    return [probe for probe in map(_probe, connection.execute(query)) if "done" not in probe.hops or "rules" not in probe.hops]


def expected(connection: sa.Connection, probe: Probe) -> dict[str, float] | None:
    """The numbers that a probe like this is expected to give; None: there was none yet."""
    query = sa.select(expected_table.c.numbers).where(*_like(probe))
    found = connection.execute(query).scalar_one_or_none()
    return None if found is None else dict(found)


def expect(connection: sa.Connection, probe: Probe, now: float) -> None:
    """From now on the numbers of this probe are the expected ones."""
    values = {"numbers": dict(probe.numbers), "probe_id": probe.id, "at": now}
    if connection.execute(sa.update(expected_table).where(*_like(probe)).values(**values)).rowcount == 0:
        key = {"campaign": probe.campaign, "version": probe.version, "code_version": probe.code_version, "raw": probe.raw}
        connection.execute(sa.insert(expected_table).values(**key, **values))


def _like(probe: Probe) -> tuple[sa.ColumnElement[bool], ...]:
    c = expected_table.c
    same_code = (c.code_version == probe.code_version, c.raw == probe.raw)
    return c.campaign == probe.campaign, c.version == probe.version, *same_code


def waive(connection: sa.Connection, did: str, why: str, now: float) -> int:
    """Let a probe's raw file leave the buffer whatever becomes of it; how many campaigns had asked for it to stay."""
    c = obligation_table.c
    query = sa.select(c.campaign, c.version).where(c.did == did, c.met_at.is_(None), c.waived_by.is_(None))
    rows = [(did, campaign, version) for campaign, version in connection.execute(query)]
    waive_obligations(connection, rows, SUBJECT, why, now)
    return len(rows)
