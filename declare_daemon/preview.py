"""What a pass over the buffer would do, without writing anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from declare_daemon.arrivals import known_names
from declare_daemon.journal.files import BATCH, fetch, files_by_name, select_files
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import WAITING, FileState
from declare_daemon.journal.tables import file_table
from declare_daemon.metadata import describe
from declare_daemon.scanner import Scanner, has_sidecar
from declare_daemon.storage import sidecar_of, within
from dune_prompt.errors import DataError, TransientError
from dune_prompt.settings import Site
from dune_prompt.store import Store


@dataclass(frozen=True, slots=True)
class Prospect:
    """A file that would be worked on: what it is now, and what would be tried with it. Sizes and checksums are not read for it."""

    name: str
    state: FileState | None
    would: str


def preview(site: Site, store: Store) -> list[Prospect]:
    """The files a pass would work on.

    Raises:
        TransientError: the buffer is away.
    """
    scanner = Scanner(site.buffer.path, site.buffer.sentinel, site.streams)
    with store.read() as connection:
        scan = scanner.scan(partial(known_names, connection, site))
        names = sorted(scan.closed | scan.unmatched)
        known = {name: file for batch in batches(names, BATCH) for name, file in files_by_name(connection, "buffer", batch).items()}
        c = file_table.c
        waiting = fetch(connection, select_files().where(c.state.in_([state.value for state in WAITING])).order_by(c.id))
    found = [
        Prospect(name, known[name].state if name in known else None, _would(site, name) if name in scan.closed else "alarm: fits no stream")
        for name in names
        if name not in known or known[name].state not in WAITING
    ]
    found += [Prospect(name, None, "watch whether it grows") for name in sorted(scanner.unstable)]
    return found + [Prospect(file.name, file.state, _next(file.state)) for file in waiting]


def _would(site: Site, name: str) -> str:
    path = within(site.buffer.path, name)
    try:
        described = describe(path, sidecar=sidecar_of(path) if has_sidecar(site.streams, name) else None)
    except DataError as error:
        return f"wait, then quarantine: {error}"
    except OSError as error:
        raise TransientError(f"{error.filename or path}: {error.strerror or error}") from None
    stream = site.stream_of(name, described.metadata)
    if stream is None:
        return "alarm: fits no stream"
    if not stream.declare_:
        return f"ignore, as all of stream {stream.name}"
    return f"verify, declare in {described.dataset}" + (f", process as stream {stream.name}" if stream.process else "")


def _next(state: FileState) -> str:
    return {
        FileState.FOUND: "verify, declare",
        FileState.VERIFIED: "declare",
        FileState.REJECTED: "finish its move into the quarantine",
        FileState.RETURNING: "finish its move back, verify, declare",
        FileState.LEAVING: "finish its move out of the buffer",
    }[state]
