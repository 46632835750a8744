"""Collects what the daemon tells of itself: from the journal, and from what it has counted since its start."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from declare_daemon.journal.files import ROOM, counts
from declare_daemon.journal.queue import lengths
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, intake_table, obligation_table
from declare_daemon.monitoring import Away, RequestTimes, Snapshot
from declare_daemon.outage import Outage
from declare_daemon.registration.pauses import pauses
from declare_daemon.release.space import read_fill
from dune_prompt.settings import Site
from dune_prompt.store import Store, event_table

if TYPE_CHECKING:
    from declare_daemon.daemon import Progress


@dataclass
class SoFar:
    """What was done since the start of the process."""

    since: float
    last_step_at: float | None = None
    last_scan_at: float | None = None
    declared: int = 0
    released: int = 0

    def add(self, progress: Progress, now: float) -> None:
        """A step has ended."""
        self.last_step_at = now
        self.declared += progress.declared
        self.released += progress.left


def take_snapshot(
    site: Site, store: Store, so_far: SoFar, outages: Mapping[str, Outage], times: Mapping[str, tuple[int, float]], now: float
) -> Snapshot:
    """The snapshot at `now`."""
    with store.read() as connection:
        by_state = counts(connection)
        waiting: dict[str, int] = {}
        for (catalog, _), number in lengths(connection).items():
            waiting[catalog] = waiting.get(catalog, 0) + number
        paused = pauses(connection).keys()
        used = capacity = None
        with suppress(OSError):
            fill = read_fill(connection, site.buffer)
            used, capacity = fill.used_bytes, fill.capacity_bytes
        oldest = _oldest_unprocessed(connection, site)
        c, e = file_table.c, event_table.c
        declared_bytes = sa.select(sa.func.coalesce(sa.func.sum(c.size_bytes), 0)).where(c.declared_at >= so_far.since)
        quarantined = sa.select(sa.func.count()).where(e.at >= so_far.since, e.room == ROOM, e.after == FileState.QUARANTINED.value)
        declared_bytes_total = int(connection.execute(declared_bytes).scalar_one())
        quarantined_total = connection.execute(quarantined).scalar_one()
    return Snapshot(
        interval_s=site.service.interval,
        last_step_at=so_far.last_step_at,
        last_scan_at=so_far.last_scan_at,
        files={(origin, state.value): number for origin, states in by_state.items() for state, number in states.items()},
        steps_waiting=waiting,
        away={subject: Away(outage.since or now, outage.error) for subject, outage in outages.items()},
        alarms=[subject for subject, outage in outages.items() if outage.alarmed],
        paused=list(paused),
        conflicts=sum(states.get(FileState.CONFLICT, 0) for states in by_state.values()),
        declared_total=so_far.declared,
        declared_bytes_total=declared_bytes_total,
        released_total=so_far.released,
        quarantined_total=quarantined_total,
        buffer_used_bytes=used,
        buffer_capacity_bytes=capacity,
        oldest_unprocessed_age_s=None if oldest is None else max(0.0, now - oldest),
        requests={name: RequestTimes(count, total_s) for name, (count, total_s) in times.items()},
    )


def _oldest_unprocessed(connection: sa.Connection, site: Site) -> float | None:
    """When the file was closed that waits longest for its processing."""
    c, o = file_table.c, obligation_table.c
    processed = [stream.name for stream in site.streams if stream.process]
    if not processed:
        return None
    waits = sa.or_(
        sa.exists().where(intake_table.c.file_id == c.id),
        sa.exists().where(o.did == c.did, o.met_at.is_(None), o.waived_by.is_(None)),
    )
    in_buffer = c.state.in_([FileState.VERIFIED.value, FileState.DECLARED.value])
    query = sa.select(sa.func.min(c.closed_at)).where(c.stream.in_(processed), in_buffer, waits)
    oldest: float | None = connection.execute(query).scalar_one_or_none()
    return oldest
