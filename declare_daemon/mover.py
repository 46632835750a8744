"""Carries out the moves the journal has decided: into the quarantine and back, to an output's final place, out of the buffer.

The target is journaled before a file is touched, and every move may be repeated, so a kill at any point leaves nothing half-done.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event as Flag

import sqlalchemy as sa

from declare_daemon.journal.files import JournalFile, fetch, files_by_id, select_files
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table
from declare_daemon.journal.writer import Journal
from declare_daemon.moves import MissingError, move_with_sidecar
from declare_daemon.outbox import Outbox, root_of
from declare_daemon.quarantine import Quarantine, reason_file
from declare_daemon.scanner import list_folder
from declare_daemon.slow_work import QUICK_BYTES, SlowWork
from declare_daemon.storage import exists, parent_of, storage_of
from declare_daemon.verdicts import Judge, Verdicts
from dune_prompt.errors import ConflictError, TransientError
from dune_prompt.settings import Site


class Mover:
    """Moves files that have a target."""

    def __init__(
        self, site: Site, journal: Journal, outbox: Outbox, quarantine: Quarantine, judge: Judge, *, wake: Callable[[], None]
    ) -> None:
        self._site, self._journal, self._outbox, self._quarantine, self._judge = site, journal, outbox, quarantine, judge
        self._stop = Flag()
        self._work: SlowWork[None] = SlowWork("move", wake=wake)
        self._started: dict[int, JournalFile] = {}

    @property
    def work(self) -> SlowWork[None]:
        """The files being moved."""
        return self._work

    def start(self) -> None:
        """Begin with the files that are due."""
        c = file_table.c
        now = self._journal.now()
        # Only release copies large data, when it moves them to another file system.
        large = sa.and_(c.state == FileState.LEAVING.value, sa.func.coalesce(c.size_bytes, 0) > QUICK_BYTES)
        for slow in (False, True):
            room = self._work.room(slow=slow)
            query = select_files().where(c.target.is_not(None), c.next_try <= now, large if slow else ~large)
            with self._journal.read() as connection:
                files = fetch(connection, query.order_by(c.id).limit(room + len(self._work)))
            for file in [file for file in files if file.id not in self._work][:room]:
                self._started[file.id] = file
                self._work.start(file.id, partial(self._move, file, now), slow=slow)

    def _move(self, file: JournalFile, now: float) -> None:
        source, target = file.path, file.target or file.path
        if file.state is FileState.REJECTED:
            self._quarantine.prepare(file, now)
        elif file.state is FileState.LEAVING:
            if not exists(parent_of(target)):
                raise TransientError(f"{parent_of(target)}: the folder for released files is not there")
        elif file.state is FileState.RETURNING and file.origin == "buffer":
            list_folder(self._site.buffer.path, self._site.buffer.sentinel)
        else:
            self._outbox.check(root_of(file, self._outbox.default_root))
            storage_of(target).make_folder(parent_of(target))
        move_with_sidecar(source, target, file.adler32 if file.state is FileState.LEAVING else None, self._stop)
        if file.state is FileState.RETURNING:
            with suppress(FileNotFoundError):
                storage_of(source).remove(reason_file(source))

    def finish(self, patience_s: float) -> int:
        """Journal the moves that are through; how many files are where they were to go."""
        done = self._work.finished(patience_s)
        if not done:
            return 0
        verdicts = self._judge.verdicts(self._journal.now())
        arrived = 0
        with self._journal.write() as connection:
            current = files_by_id(connection, done)
            for file_id, future in done.items():
                file = current[file_id]
                if file != self._started.pop(file_id):
                    continue
                try:
                    future.result()
                    self._arrived(verdicts, file)
                    arrived += 1
                except MissingError as error:
                    self._missing(verdicts, file, error)
                except ConflictError as error:
                    self._in_the_way(verdicts, file, error)
                except (TransientError, OSError) as error:
                    verdicts.wait(file, f"not moved to {file.target}: {error}")
            verdicts.write(connection)
        return arrived

    def _arrived(self, verdicts: Verdicts, file: JournalFile) -> None:
        if file.state is FileState.REJECTED:
            verdicts.good(file, FileState.QUARANTINED, file.reason, path=file.target, target=None, reason=file.reason, tries=file.tries)
        elif file.state is FileState.RETURNING:
            verdicts.good(file, FileState.FOUND, "moved back to be tried again", path=file.target, target=None)
        else:
            verdicts.moved(file)

    def _missing(self, verdicts: Verdicts, file: JournalFile, error: MissingError) -> None:
        if file.state is FileState.RETURNING:
            verdicts.stopped(file, FileState.QUARANTINED, f"not moved back: {error}")
        elif file.state is FileState.REJECTED and file.origin == "outbox":
            # The outbox is there, or it would not have been rejected; there is nothing to put away.
            verdicts.good(file, FileState.QUARANTINED, file.reason, target=None, reason=file.reason, tries=file.tries)
        elif file.state is FileState.REJECTED and self._buffer_is_there():
            verdicts.stopped(file, FileState.GONE, f"{file.reason}; vanished before it could be quarantined")
        elif file.state is FileState.VERIFIED:
            verdicts.bad(file, str(error))
        else:
            verdicts.wait(file, str(error))

    def _in_the_way(self, verdicts: Verdicts, file: JournalFile, error: ConflictError) -> None:
        if file.state is FileState.RETURNING:
            verdicts.stopped(file, FileState.QUARANTINED, f"not moved back: {error}")
        elif file.state is FileState.REJECTED:
            verdicts.wait(file, str(error))
        else:
            verdicts.stopped(file, FileState.CONFLICT, str(error))

    def _buffer_is_there(self) -> bool:
        try:
            list_folder(self._site.buffer.path, self._site.buffer.sentinel)
        except TransientError:
            return False
        return True

    def close(self) -> None:
        """Stop copying, and wait for the moves that have begun; what was not finished is done again."""
        self._stop.set()
        self._work.close()
