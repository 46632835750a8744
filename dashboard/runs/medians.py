"""How long the files of a run took, from closed to done: the median, kept until more of them are done."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from dashboard.operations.campaigns import Campaigns
from dashboard.operations.latency import quantile
from dashboard.runs.listing import RunRow

MOST_KEPT = 10_000
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Median:
    done: int
    seconds: float | None


class Medians:
    """Reads the files of a run only when others are done than last time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Median] = OrderedDict()

    def of(self, connection: sa.Connection, campaigns: Campaigns, rows: Sequence[RunRow]) -> dict[Key, float | None]:
        """The medians by (run, campaign id); None where no file was processed here."""
        found: dict[Key, float | None] = {}
        for row in rows:
            key = (row.run, row.campaign_id)
            kept = self._kept.get(key)
            if kept is None or kept.done != row.counts.done:
                step = campaigns[row.campaign_id].final_step
                kept = _Median(row.counts.done, _median(connection, row, step) if row.counts.done else None)
                self._kept[key] = kept
                if len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
            found[key] = kept.seconds
        return found


def _median(connection: sa.Connection, row: RunRow, final_step: str) -> float | None:
    t = task_table.c
    took = sa.select(t.done_at - t.closed_at).where(
        t.run == row.run,
        t.campaign_id == row.campaign_id,
        t.step == final_step,
        t.attempts > 0,
        t.done_at.is_not(None),
        t.closed_at.is_not(None),
    )
    return quantile(sorted(connection.execute(took).scalars()), 0.5)
