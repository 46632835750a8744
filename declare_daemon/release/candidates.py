"""Which files could leave the buffer now, by what the journal knows: declared, old enough, every reason to keep them met or waived.

A file of a stream that is processed and that no campaign has asked for yet is kept too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from declare_daemon.journal.files import JournalFile, fetch, select_files
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, intake_table, obligation_table
from declare_daemon.release.checklist import Action
from dune_prompt.settings import Site, StreamSettings

BATCH = 500


@dataclass(frozen=True, slots=True)
class Obligation:
    """A reason to keep a file: (campaign, version) must have declared a child made by the stage `child`."""

    campaign: str
    version: str
    child: str
    met_at: float | None
    waived_by: str | None
    waived_why: str | None

    @property
    def is_open(self) -> bool:
        """Whether it still holds the file, as far as the journal knows."""
        return self.met_at is None and self.waived_by is None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may leave if its checklist holds. `occasion` says why now; `sacrificed`: though it is not processed."""

    file: JournalFile
    stream: StreamSettings
    action: Action
    target: str | None
    occasion: str
    oldest_allowed: float
    obligations: tuple[Obligation, ...] = ()
    sacrificed: bool = False


def may_leave(stream: StreamSettings, closed_before: float, now: float, *, unprocessed: bool = False) -> sa.Select[tuple[object, ...]]:
    """The query for the files of `stream` closed before a time that may leave, oldest first; `unprocessed`: their obligations aside."""
    c, o = file_table.c, obligation_table.c
    query = select_files().where(
        c.stream == stream.name,
        c.state == FileState.DECLARED.value,
        c.origin == "buffer",
        c.closed_at <= closed_before,
        c.next_try <= now,
    )
    if not unprocessed:
        query = query.where(~sa.exists().where(o.did == c.did, o.met_at.is_(None), o.waived_by.is_(None)))
        if stream.process:
            query = query.where(
                sa.exists().where(o.did == c.did),
                ~sa.exists().where(intake_table.c.file_id == c.id),
            )
    return query.order_by(c.closed_at)


def find(connection: sa.Connection, site: Site, now: float, to_free_bytes: int, fraction: float | None) -> list[Candidate]:
    """The files to be proven now: those whose time is over, and under pressure the oldest processed ones until enough would go.

    Only if these are too few, unprocessed files of the streams in `buffer.sacrifice` follow.
    """
    leaving = [stream for stream in site.streams if stream.release.any]
    found: dict[int, Candidate] = {}
    for stream in leaving:
        before = now - stream.lifetime
        for file in fetch(connection, may_leave(stream, before, now).limit(BATCH)):
            found[file.id] = _candidate(stream, file, f"older than its stream's lifetime of {_hours(stream.lifetime)}", before)
    to_free = to_free_bytes - sum(item.file.size_bytes or 0 for item in found.values())
    full = f"the buffer is {fraction:.0%} full, more than {site.buffer.high_water:.0%}" if fraction is not None else ""
    for sacrificed in (False, True):
        if to_free <= 0:
            break
        streams = [stream for stream in leaving if not sacrificed or stream.name in site.buffer.sacrifice]
        for item in _oldest(connection, streams, now, full, sacrificed=sacrificed):
            if to_free > 0 and item.file.id not in found:
                found[item.file.id] = item
                to_free -= item.file.size_bytes or 0
    chosen = sorted(found.values(), key=lambda item: item.file.closed_at or 0.0)[:BATCH]
    known = obligations_of(connection, [item.file.did for item in chosen if item.file.did is not None])
    return [replace(item, obligations=known.get(item.file.did or "", ())) for item in chosen]


def _oldest(
    connection: sa.Connection, streams: Sequence[StreamSettings], now: float, occasion: str, *, sacrificed: bool
) -> list[Candidate]:
    """The oldest files of these streams that are old enough to leave under pressure."""
    items = []
    for stream in streams:
        before = now - min(stream.release.min_age, stream.lifetime)
        files = fetch(connection, may_leave(stream, before, now, unprocessed=sacrificed).limit(BATCH))
        items += [_candidate(stream, file, occasion, before, sacrificed=sacrificed) for file in files]
    return sorted(items, key=lambda item: item.file.closed_at or 0.0)


def _candidate(stream: StreamSettings, file: JournalFile, occasion: str, before: float, *, sacrificed: bool = False) -> Candidate:
    action: Action = "delete" if stream.release.delete else "move"
    target = None if stream.release.move_to is None else f"{stream.release.move_to}/{file.name}"
    return Candidate(file, stream, action, target, occasion, before, sacrificed=sacrificed)


def obligations_of(connection: sa.Connection, dids: Sequence[str]) -> dict[str, tuple[Obligation, ...]]:
    """The obligations of these files."""
    c = obligation_table.c
    found: dict[str, list[Obligation]] = {}
    for batch in batches(dids, BATCH):
        for row in connection.execute(sa.select(obligation_table).where(c.did.in_(batch)).order_by(c.campaign, c.version)):
            item = Obligation(row.campaign, row.version, row.child, row.met_at, row.waived_by, row.waived_why)
            found.setdefault(row.did, []).append(item)
    return {did: tuple(items) for did, items in found.items()}


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h"
