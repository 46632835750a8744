"""The newest records of a campaign, with their verdicts: what the detector looked like in the last minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from dashboard.dqm.scalars import Scalars, unpack
from dashboard.dqm.tables import result_table, run_table
from dashboard.quality.flags import Flag
from dashboard.quality.tables import verdict_table

# So many of the newest files make the matrix: enough to tell one bad file from a bad detector, few enough to be now.
RECENT = 10


@dataclass(frozen=True, slots=True)
class RecentRecord:
    """A record that came in lately. `tiles` and `findings` are its verdict's, empty when it has none."""

    id: int
    run: int
    input_did: str
    file_index: int | None
    detector: str
    run_type: str
    received_at: float
    data_at: float | None
    flag: Flag
    elements: Sequence[str]
    scalars: Scalars
    tiles: Mapping[str, Mapping[str, int]]
    findings: Sequence[Mapping[str, Any]]
    limits_version: int | None
    reference_id: int | None

    def scalars_of(self, element: str) -> Scalars:
        """The scalars [planes, scalars] of an element; NaN where it has none."""
        if element in self.elements:
            found: Scalars = self.scalars[self.elements.index(element)]
            return found
        return np.full(self.scalars.shape[1:], np.nan, np.float32)


def read_recent(connection: sa.Connection, campaign: str, version: str) -> list[RecentRecord]:
    """The newest shown records, newest first; all of the run the newest one belongs to."""
    d, v = result_table.c, verdict_table.c
    of_campaign = (d.campaign == campaign, d.version == version, d.shown)
    # Of the runs, since there are few of them, and a record that comes marks its run.
    r = run_table.c
    of_runs = sa.select(r.run).where(r.campaign == campaign, r.version == version)
    newest = connection.execute(of_runs.order_by(r.received_at.desc(), r.run.desc()).limit(1)).scalar_one_or_none()
    if newest is None:
        return []
    statement = (
        sa.select(result_table, v.tiles, v.findings, v.limits_version, v.reference_id)
        .select_from(result_table.outerjoin(verdict_table, v.id == d.verdict_id))
        .where(*of_campaign, d.run == newest)
        .order_by(d.received_at.desc(), d.id.desc())
        .limit(RECENT)
    )
    return [_record(row) for row in connection.execute(statement)]


def _record(row: Any) -> RecentRecord:
    return RecentRecord(
        id=row.id,
        run=row.run,
        input_did=row.input_did,
        file_index=row.file_index,
        detector=row.detector,
        run_type=row.run_type,
        received_at=row.received_at,
        data_at=row.data_at,
        flag=Flag(row.flag),
        elements=row.elements,
        scalars=unpack(row.scalars, len(row.elements)),
        tiles=row.tiles or {},
        findings=row.findings or [],
        limits_version=row.limits_version,
        reference_id=row.reference_id,
    )
