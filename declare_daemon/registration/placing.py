"""Makes the copies a replica catalogue wants at its own paths, beside the loop, verified end to end.

The place is journaled before the copy begins, and a copy may be repeated, so a kill at any point leaves nothing half-done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event as Flag

import structlog

from declare_daemon.catalogs.protocol import Catalogs
from declare_daemon.journal import queue
from declare_daemon.journal.files import JournalFile, fetch, files_by_id, select_files
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, queue_table
from declare_daemon.journal.writer import Journal
from declare_daemon.outage import Outages
from declare_daemon.registration.registrar import Registrar
from declare_daemon.registration.steps import PLACED
from declare_daemon.slow_work import QUICK_BYTES, SlowWork
from declare_daemon.storage import copy, parent_of, storage_of
from declare_daemon.verdicts import Judge
from dune_prompt.errors import ConflictError, TransientError

log = structlog.get_logger(__name__)


class Placer:
    """Takes files through the step `placed`."""

    def __init__(
        self, journal: Journal, catalogs: Catalogs, registrar: Registrar, judge: Judge, outages: Outages, *, wake: Callable[[], None]
    ) -> None:
        self._journal, self._registrar, self._judge, self._outages = journal, registrar, judge, outages
        self._catalog = next((item.name for item in catalogs.all if item.places), None)
        self._stop = Flag()
        self._work: SlowWork[None] = SlowWork("place", wake=wake)
        self._started: dict[int, JournalFile] = {}

    @property
    def busy(self) -> bool:
        """Whether files are being copied."""
        return len(self._work) > 0

    def start(self) -> None:
        """Begin with the files that are due, unless the storage is away."""
        if self._catalog is None or not self._outages.of(self._subject).due(self._journal.now()):
            return
        c, q = file_table.c, queue_table.c
        query = select_files().join(queue_table, q.file_id == c.id).where(q.catalog == self._catalog, q.step == PLACED)
        query = query.where(c.state == FileState.VERIFIED.value, c.target.is_(None), c.next_try <= self._journal.now())
        with self._journal.read() as connection:
            files = fetch(connection, query.order_by(q.file_id).limit(self._work.room(slow=False) + len(self._work)))
        for file in files:
            slow = (file.size_bytes or 0) > QUICK_BYTES
            if file.id not in self._work and self._work.room(slow=slow):
                self._started[file.id] = file
                self._work.start(file.id, partial(self._place, file), slow=slow)

    @property
    def _subject(self) -> str:
        return f"storage:{self._catalog}"

    def _place(self, file: JournalFile) -> None:
        if file.place is None:
            return
        record = file.record
        storage_of(file.place).make_folder(parent_of(file.place))
        copy(file.path, file.place, (record.size_bytes, record.adler32), self._stop)

    def finish(self, patience_s: float) -> int:
        """Journal the copies that are made; how many."""
        if self._catalog is None or not (done := self._work.finished(patience_s)):
            return 0
        now = self._journal.now()
        verdicts = self._judge.verdicts(now)
        placed: list[int] = []
        away: Exception | None = None
        with self._journal.write() as connection:
            current = files_by_id(connection, done)
            for file_id, future in done.items():
                file = current[file_id]
                if not file.still_is(self._started.pop(file_id)):
                    continue
                try:
                    future.result()
                    placed.append(file_id)
                except ConflictError as error:
                    verdicts.stopped(file, FileState.CONFLICT, f"not copied to {file.place}: {error}")
                except (TransientError, OSError) as error:
                    away = error
                    verdicts.wait(file, f"not copied to {file.place}: {error}")
                except Exception as error:
                    log.exception("fault while copying a file", file=file.subject)
                    verdicts.wait(file, f"fault in the code: {type(error).__name__}: {error}")
            queue.confirm(connection, self._catalog, PLACED, placed, now)
            verdicts.write(connection)
            self._registrar.plan(connection, placed)
        if placed:
            self._outages.of(self._subject).answered(now)
        elif away is not None:
            self._outages.of(self._subject).failed(away, now)
        return len(placed)

    def close(self) -> None:
        """Stop copying; what was not finished is done again."""
        self._stop.set()
        self._work.close()
