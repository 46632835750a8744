"""How the shown file was judged, and with which versions of limits and reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dashboard.quality.flags import Flag
from dashboard.quality.tables import reference_table, verdict_table


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict that counts for a record. `findings`: what is not good, as judging wrote it; `reference_run`: what it was compared to."""

    judged_at: float
    limits_version: int
    reference_id: int | None
    reference_run: int | None
    flag: Flag
    findings: Sequence[Mapping[str, Any]]

    def finding(self, element: str, plane: str, check: str) -> Mapping[str, Any] | None:
        """What was found of one quantity of one plane."""
        key = (element, plane, check)
        return next((item for item in self.findings if (item["element"], item["plane"], item["check"]) == key), None)


def read_verdict(connection: sa.Connection, verdict_id: int | None) -> Verdict | None:
    """A verdict by its id; None for a file that was not judged."""
    if verdict_id is None:
        return None
    v, r = verdict_table.c, reference_table.c
    statement = (
        sa.select(v.judged_at, v.limits_version, v.reference_id, r.run, v.flag, v.findings)
        .join_from(verdict_table, reference_table, v.reference_id == r.id, isouter=True)
        .where(v.id == verdict_id)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    findings = sorted(row.findings, key=lambda item: (-item["flag"], item["element"], item["plane"] or ""))
    return Verdict(row.judged_at, row.limits_version, row.reference_id, row.run, Flag(row.flag), findings)
