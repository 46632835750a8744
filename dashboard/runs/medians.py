"""How long the files of a run took, from closed to done: the median, kept until more of them are done."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from campaign.ledger.tables import task_table
from dashboard.kept import Kept
from dashboard.operations.campaigns import Campaigns
from dashboard.operations.latency import quantile
from dashboard.runs.listing import RunRow

MOST_KEPT = 10_000


class Medians:
    """Reads the files of a run only when others are done than last time."""

    def __init__(self) -> None:
        self._kept: Kept[tuple[int, int, int], float | None] = Kept(MOST_KEPT)

    def of(self, connection: sa.Connection, campaigns: Campaigns, rows: Sequence[RunRow]) -> dict[tuple[int, int], float | None]:
        """The medians by (run, campaign id); None where no file was processed here."""
        return {(row.run, row.campaign_id): self._one(connection, row, campaigns[row.campaign_id].final_step) for row in rows}

    def _one(self, connection: sa.Connection, row: RunRow, final_step: str) -> float | None:
        done = row.counts.done
        return self._kept.get((row.run, row.campaign_id, done), lambda: _median(connection, row, final_step) if done else None)


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
