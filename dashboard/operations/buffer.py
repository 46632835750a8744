"""How full the disk buffer is, by the journal, and what its file system says."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.journal import FileState
from declare_daemon.journal.tables import file_table
from dune_prompt.settings.site import BufferSettings

# The quarantine and the places of released files are elsewhere.
IN_BUFFER = tuple(state for state in FileState if state not in (FileState.QUARANTINED, FileState.LEFT, FileState.GONE))

DISK_LOOK_S = 5.0
DISK_PATIENCE_S = 0.2


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The file system of the buffer, as it was at `at`."""

    total_bytes: int
    free_bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class BufferFill:
    """What lies in the buffer. `fraction` is of its capacity; None when neither the site file nor the file system tells that.

    `disk` is None when the file system does not answer.
    """

    files: int
    used_bytes: int
    capacity_bytes: int | None
    fraction: float | None
    high_water: float
    low_water: float
    disk: DiskSpace | None


def read_buffer_fill(connection: sa.Connection, settings: BufferSettings, disk: DiskSpace | None) -> BufferFill:
    """The files of the journal that are in the buffer, against what it may hold."""
    f = file_table.c
    statement = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(f.size_bytes), 0)).where(
        f.origin == "buffer", f.state.in_(IN_BUFFER)
    )
    files, used = connection.execute(statement).one()
    capacity = settings.capacity or (disk.total_bytes if disk else None)
    return BufferFill(
        files=files,
        used_bytes=int(used),
        capacity_bytes=capacity,
        fraction=int(used) / capacity if capacity else None,
        high_water=settings.high_water,
        low_water=settings.low_water,
        disk=disk,
    )


class DiskWatch:
    """Asks the file system of a folder for its space, in a thread of its own: a mount that hangs must not hang the pages."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known: DiskSpace | None = None
        self._asked_at: float | None = None
        self._thread: threading.Thread | None = None

    def space(self, now: float) -> DiskSpace | None:
        """The latest answer, not older than a few seconds when the file system is well; None when it refuses, or is behind XRootD."""
        if (self._thread is None or not self._thread.is_alive()) and (self._asked_at is None or abs(now - self._asked_at) >= DISK_LOOK_S):
            self._asked_at = now
            self._thread = threading.Thread(target=self._look, args=(now,), name="disk-space", daemon=True)
            self._thread.start()
            self._thread.join(DISK_PATIENCE_S)
        return self._known

    def _look(self, now: float) -> None:
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            self._known = None
        else:
            self._known = DiskSpace(usage.total, usage.free, now)
