"""How long the files processed in the period took, against the time a file may take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from campaign.ledger.tables import task_table
from dashboard.handover.files import QUESTIONS, Asked


@dataclass(frozen=True, slots=True)
class LatencyAgainstTarget:
    """From the end of writing to the declared results, of `files` whose time of closing is known; seconds, None without files."""

    target_s: float
    files: int
    within: int
    p50: float | None
    p95: float | None
    longest: float | None

    @property
    def fraction(self) -> float | None:
        return self.within / self.files if self.files else None


def read_latency_against(connection: sa.Connection, asked: Asked, target_s: float) -> LatencyAgainstTarget:
    """The latency of the files that the number `processed` counts."""
    t = task_table.c
    took = (t.done_at - t.closed_at).label("took")
    statement = QUESTIONS["processed"].select(asked).where(t.closed_at.is_not(None)).with_only_columns(took).order_by(None)
    seconds = np.sort(np.fromiter(connection.execute(statement).scalars(), np.float64))
    if not len(seconds):
        return LatencyAgainstTarget(target_s, 0, 0, None, None, None)
    within = int(np.searchsorted(seconds, target_s, "right"))
    p50, p95 = (float(one) for one in np.quantile(seconds, (0.5, 0.95)))
    return LatencyAgainstTarget(target_s, len(seconds), within, p50, p95, float(seconds[-1]))
