"""What the daemon's operator wants to know: counts, what waits longest, what was stopped and why, which alarms are open."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.journal import queue
from declare_daemon.journal.files import ROOM, JournalFile, counts, fetch, files_by_did, files_by_name, select_files
from declare_daemon.journal.states import WAITING, FileState
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import lease_name
from declare_daemon.outage import open_alarms
from declare_daemon.outbox import root_of
from declare_daemon.registration.pauses import Pause, pauses
from dune_prompt.settings import Site
from dune_prompt.store import event_table
from dune_prompt.store.lease import holder_of

STOPPED = (FileState.QUARANTINED, FileState.CONFLICT, FileState.UNMATCHED)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something outside that is away (`subject`), since when, and what it said last."""

    subject: str
    since: float
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one buffer's daemon. `waiting` holds the file that waits longest in each state, `kept` files whose time is
    over but whose checklist does not hold, `queued` how many wait for each (catalogue, step), `sacrificed` how many left unprocessed."""

    daemon: str | None
    counts: dict[str, dict[FileState, int]]
    waiting: list[JournalFile]
    stopped: list[JournalFile]
    alarms: list[Alarm]
    kept: list[JournalFile]
    pauses: list[Pause]
    queued: dict[tuple[str, str], int]
    sacrificed: int


def read_status(connection: sa.Connection, site: Site, now: float, *, limit: int = 100) -> Status:
    """The status as the journal tells it; of stopped files the `limit` newest."""
    oldest = [file for state in sorted(WAITING) for file in _in_states(connection, (state,), 1, newest_first=False)]
    outputs = file_table.c.origin == "outbox"
    waiting_outputs = fetch(connection, select_files().where(file_table.c.state == FileState.FOUND.value, outputs).limit(limit))
    roots = {root_of(file, site.workspace / "outbox") for file in waiting_outputs}
    subjects = [
        f"buffer:{site.buffer.path}",
        f"sidecars:{site.buffer.path}",
        *(f"catalog:{settings.kind}" for settings in site.catalogs),
        *(f"storage:{settings.kind}" for settings in site.catalogs),
        *(f"outbox:{root}" for root in sorted(roots)),
    ]
    c, e = file_table.c, event_table.c
    kept = select_files().where(c.state == FileState.DECLARED.value, c.reason.is_not(None), c.origin == "buffer")
    return Status(
        daemon=holder_of(connection, lease_name(site.buffer.path), now=now),
        counts=counts(connection),
        waiting=oldest,
        stopped=_in_states(connection, STOPPED, limit, newest_first=True),
        alarms=[Alarm(subject, since, message) for subject, (since, message) in sorted(open_alarms(connection, subjects).items())],
        kept=fetch(connection, kept.order_by(c.closed_at).limit(limit)),
        pauses=sorted(pauses(connection).values(), key=lambda item: item.catalog),
        queued=queue.lengths(connection),
        sacrificed=connection.execute(sa.select(sa.func.count()).where(e.room == ROOM, e.after == "sacrificed")).scalar_one(),
    )


def last_event(connection: sa.Connection) -> int:
    """The number of the newest event, to ask later what happened since."""
    return int(connection.execute(sa.select(sa.func.max(event_table.c.id))).scalar_one() or 0)


def touched_since(connection: sa.Connection, event_id: int) -> list[JournalFile]:
    """The files whose state changed after event `event_id`, as they are now, in the order the journal got to know them."""
    e = event_table.c
    query = sa.select(e.subject).where(e.id > event_id, e.room == ROOM, e.after.in_([state.value for state in FileState])).distinct()
    subjects = list(connection.execute(query).scalars())
    # An event calls a file by its name until its DID is known.
    found = files_by_did(connection, subjects) | files_by_name(connection, "buffer", subjects)
    return sorted({file.id: file for file in found.values()}.values(), key=lambda file: file.id)


def _in_states(connection: sa.Connection, states: Collection[FileState], limit: int, *, newest_first: bool) -> list[JournalFile]:
    c = file_table.c
    order = c.found_at.desc() if newest_first else c.found_at
    return fetch(connection, select_files().where(c.state.in_([state.value for state in states])).order_by(order).limit(limit))
