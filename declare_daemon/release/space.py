"""How full the buffer is, and how much has to go: from the high water mark down to the low one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import sqlalchemy as sa

from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table
from dune_prompt.settings.paths import XROOTD
from dune_prompt.settings.site import BufferSettings

# The quarantine and the places of released files are elsewhere.
IN_BUFFER = tuple(state.value for state in FileState if state not in (FileState.QUARANTINED, FileState.LEFT, FileState.GONE))


@dataclass(frozen=True, slots=True)
class Fill:
    """What lies in the buffer, of it what is `leaving_bytes` on its way out, and what the buffer may hold (None: nobody says)."""

    used_bytes: int
    leaving_bytes: int
    capacity_bytes: int | None

    @property
    def fraction(self) -> float | None:
        """How full the buffer is."""
        return self.used_bytes / self.capacity_bytes if self.capacity_bytes else None


def read_fill(connection: sa.Connection, settings: BufferSettings) -> Fill:
    """The fill by the journal against the configured capacity, or else by the file system itself.

    Raises:
        OSError: the file system does not tell.
    """
    c = file_table.c
    query = sa.select(c.state, sa.func.coalesce(sa.func.sum(c.size_bytes), 0)).where(c.origin == "buffer", c.state.in_(IN_BUFFER))
    sizes = {state: int(size) for state, size in connection.execute(query.group_by(c.state))}
    leaving = sizes.get(FileState.LEAVING.value, 0)
    if settings.capacity is not None or settings.path.startswith(XROOTD):
        return Fill(sum(sizes.values()), leaving, settings.capacity)
    usage = shutil.disk_usage(settings.path)
    return Fill(usage.used, leaving, usage.total)


class Pressure:
    """Whether space is short: from above the high water mark until below the low one."""

    def __init__(self, settings: BufferSettings) -> None:
        self._high, self._low = settings.high_water, settings.low_water
        self.on = False

    def to_free_bytes(self, fill: Fill) -> int:
        """How many bytes more have to leave now."""
        if fill.capacity_bytes is None or fill.fraction is None:
            return 0
        if fill.fraction > self._high:
            self.on = True
        excess = fill.used_bytes - fill.leaving_bytes - int(self._low * fill.capacity_bytes)
        if excess <= 0:
            self.on = False
        return excess if self.on else 0
