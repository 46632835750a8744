"""Takes samples of the numbers for the history charts: one every ten seconds, some of them kept for longer.

A sample belongs to the slot of its interval that it was taken in, so that nothing is doubled by a restart or by a clock that is set back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

from dashboard.operations.buffer import DiskWatch, read_buffer_fill
from dashboard.operations.campaigns import counted_campaigns
from dashboard.operations.promptness import NOW_S, Asked, prompt_since
from dashboard.operations.slots import SlotView
from dashboard.operations.tables import sample_table
from dashboard.operations.work import read_work
from declare_daemon.journal.states import WAITING
from declare_daemon.journal.tables import file_table
from dune_prompt.settings import Site
from dune_prompt.store import Store

# The sampler is called more often than it takes samples, so that no slot is missed.
CALLED_EVERY_S = 2.0
FINEST_S = 10
# How long the samples of each interval are kept.
KEPT_S = {FINEST_S: 2 * 3600, 60: 86400, 600: 8 * 86400, 3600: 60 * 86400}


class Sampler:
    """Called with the time; takes a sample when a slot has none yet. For one thread."""

    def __init__(
        self,
        site: Site,
        store: Store,
        slots: Callable[[], SlotView],
        active_campaigns: Callable[[], Collection[int]] | None = None,
    ) -> None:
        self._site, self._store, self._slots, self._active = site, store, slots, active_campaigns
        self._disk = DiskWatch(site.buffer.path)
        self._taken: int | None = None

    def __call__(self, now: float) -> None:
        """Take the sample that is due, if one is.

        Raises:
            TransientError: the store is away.
        """
        slot = math.floor(now / FINEST_S)
        if slot == self._taken:
            return
        with self._store.read() as connection:
            values = self._read(connection, now)
        with self._store.write() as connection:
            _keep(connection, values, now)
        self._taken = slot

    def _read(self, connection: sa.Connection, now: float) -> dict[str, Any]:
        site, f = self._site, file_table.c
        campaigns = counted_campaigns(connection, None if self._active is None else self._active())
        work = read_work(connection, campaigns)
        asked = Asked(campaigns, site.slots.drain_within, site.probe.run if site.probe else None)
        prompt = prompt_since(connection, asked, now - NOW_S, now)
        fill = read_buffer_fill(connection, site.buffer, self._disk.space(now))
        undeclared = sa.select(sa.func.count()).where(f.state.in_([state.value for state in WAITING]))
        return {
            "running": work.running - work.queued,
            "queued": work.queued,
            "slots_wanted": self._slots().wanted,
            "backlog": work.backlog,
            "parked": work.parked,
            "late": work.late,
            "files": work.files,
            "done": work.processed,
            "in_time": prompt.in_time,
            "decided": prompt.decided,
            "buffer_bytes": fill.used_bytes,
            "buffer_fraction": fill.fraction,
            "undeclared": connection.execute(undeclared).scalar_one(),
        }


def _keep(connection: sa.Connection, values: dict[str, Any], now: float) -> None:
    s = sample_table.c
    for interval_s, kept_s in KEPT_S.items():
        at = math.floor(now / interval_s) * interval_s
        of_interval = s.interval_s == interval_s
        # Samples from the future are of a clock that went wrong.
        connection.execute(sa.delete(sample_table).where(of_interval, sa.or_(s.at < at - kept_s, s.at > at)))
        known = sa.select(s.at).where(of_interval, s.at == at)
        if connection.execute(known).first() is None:
            connection.execute(sa.insert(sample_table).values(interval_s=interval_s, at=at, **values))
