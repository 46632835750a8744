"""Journals what the scanner saw: files that came, files that fit no stream, files that vanished."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
import structlog

from declare_daemon.journal.files import BATCH, ROOM, Change, JournalFile, change, fetch, files_by_id, files_by_name, names_in, select_files
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import PRESENT, FileState
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import Journal
from declare_daemon.scanner import FolderAwayError, Scanner
from declare_daemon.storage import storage_of, within
from dune_prompt.settings import Site
from dune_prompt.store import Event, record_events

log = structlog.get_logger(__name__)

NO_STREAM = "fits no stream: add one to the site file, or take the file away"
SIDECAR_LATE_S = 3600.0
_MOVED_BY_US = frozenset({FileState.REJECTED, FileState.RETURNING, FileState.LEAVING})
_SETTLED = frozenset({FileState.VERIFIED, FileState.DECLARED, FileState.IGNORED})


def known_names(connection: sa.Connection, site: Site) -> set[str]:
    """The names the journal expects in the buffer, without those that fitted no stream but do by the site file of today."""
    c = file_table.c
    strangers = fetch(connection, select_files().where(c.origin == "buffer", c.state == FileState.UNMATCHED.value))
    return names_in(connection, "buffer", PRESENT) - {file.name for file in strangers if _fits(file, site)}


def _fits(file: JournalFile, site: Site) -> bool:
    if file.metadata:
        return site.stream_of(file.name, file.metadata) is not None
    return any(fnmatchcase(file.name, stream.pattern) for stream in site.streams)


def _is_folder(path: str) -> bool:
    try:
        return storage_of(path).stat(path).is_folder
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FolderAwayError(f"{path}: {error.strerror}") from None


class Arrivals:
    """Brings the journal up to date with the buffer."""

    def __init__(self, site: Site, journal: Journal, scanner: Scanner) -> None:
        self._site, self._journal, self._scanner = site, journal, scanner
        self._waiting_since: dict[str, float] = {}

    def take(self) -> int:
        """Scan the buffer once and journal what changed; how many files are new.

        Raises:
            FolderAwayError: the buffer is away.
            TransientError: the store is.
        """
        scan = self._scanner.scan(self._known)
        new = 0
        for batch in batches(sorted(scan.closed), BATCH):
            new += self._found(batch)
        for batch in batches(sorted(scan.unmatched), BATCH):
            self._unmatched(batch)
        for batch in batches(sorted(scan.vanished), BATCH):
            self._vanished(batch)
        self._scanner.accept(scan)
        return new

    def overdue(self) -> list[str]:
        """The data files that have waited too long for their sidecar: they are never closed if nobody writes it."""
        now = self._journal.now()
        since = {name: self._waiting_since.get(name, now) for name in self._scanner.without_sidecar}
        self._waiting_since = since
        return sorted(name for name, began in since.items() if now - began > SIDECAR_LATE_S)

    def _known(self) -> set[str]:
        with self._journal.read() as connection:
            return known_names(connection, self._site)

    def _found(self, names: Sequence[str]) -> int:
        with self._journal.read() as connection:
            known = files_by_name(connection, "buffer", names)
        new: list[dict[str, Any]] = []
        again: list[Change] = []
        now = self._journal.now()
        for name in names:
            file = known.get(name)
            if file is not None and file.state in _MOVED_BY_US | {FileState.FOUND, FileState.CONFLICT}:
                continue
            closed = self._scanner.look_at(name)
            if closed is None:
                continue
            values = {"path": closed.path, "closed_at": closed.closed_at, "found_at": now}
            if file is None:
                new.append(values | {"origin": "buffer", "name": name, "state": FileState.FOUND.value, "size_bytes": closed.size_bytes})
            elif file.state not in _SETTLED or (closed.size_bytes, closed.closed_at) != (file.size_bytes, file.closed_at):
                values |= {"target": None, "reason": None, "tries": 0, "next_try": 0.0, "left_at": None}
                again.append(Change(file, FileState.FOUND, values, f"seen again, {closed.size_bytes} bytes"))
        self._write(new, again, now)
        return len(new) + len(again)

    def _unmatched(self, names: Sequence[str]) -> None:
        with self._journal.read() as connection:
            known = files_by_name(connection, "buffer", names)
        now = self._journal.now()
        new: list[dict[str, Any]] = []
        again: list[Change] = []
        for name in names:
            path, file = within(self._scanner.folder, name), known.get(name)
            if (file is not None and file.state is not FileState.GONE) or _is_folder(path):
                continue
            values = {"path": path, "found_at": now, "reason": NO_STREAM}
            if file is None:
                new.append(values | {"origin": "buffer", "name": name, "state": FileState.UNMATCHED.value})
            else:
                again.append(Change(file, FileState.UNMATCHED, values, NO_STREAM))
            log.error("alarm: file fits no stream of the site file", path=path)
        self._write(new, again, now)

    def _write(self, new: Sequence[dict[str, Any]], again: Sequence[Change], now: float) -> None:
        if not new and not again:
            return
        with self._journal.write() as connection:
            if new:
                connection.execute(sa.insert(file_table), new)
                record_events(connection, [Event(now, ROOM, row["name"], None, row["state"], None, row.get("reason")) for row in new])
            # While the files were looked at, an operator may have asked for one to be tried again.
            current = files_by_id(connection, [item.file.id for item in again])
            change(connection, [item for item in again if current[item.file.id] == item.file], now)

    def _vanished(self, names: Sequence[str]) -> None:
        now = self._journal.now()
        with self._journal.write() as connection:
            gone = [file for file in files_by_name(connection, "buffer", names).values() if file.state in PRESENT]
            change(connection, [Change(file, FileState.GONE, {"target": None}, "vanished from the buffer") for file in gone], now)
        for file in gone:
            log.warning("file vanished from the buffer, moved by somebody else", file=file.subject, was=file.state)
