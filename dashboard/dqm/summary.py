"""Records as the API lists them: their scalars by element and plane, without channels, spectra and pictures."""

from __future__ import annotations

import math
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field

from dashboard.dqm.scalars import PLANES, SCALARS, unpack
from dashboard.dqm.tables import result_table


class RecordSummary(BaseModel):
    """A record in short. `data_at`: when its data were taken; `flag`: 0 not judged, 1 good, 2 medium, 3 bad."""

    id: int
    campaign: str
    version: str
    input_did: str
    stage: str
    attempt: str
    shown: bool
    run: int
    file_index: int | None
    detector: str
    run_type: str
    data_at: float | None
    made_at: float
    received_at: float
    payload: str
    notes: list[str]
    n_records: int | None
    n_used: int | None
    n_problems: int | None
    pictures_missing: list[str]
    flag: int
    elements: dict[str, dict[str, dict[str, float | None]]] = Field(description="scalars by element, plane and name")


_COLUMNS = [result_table.c[name] for name in RecordSummary.model_fields]


def read_summaries(
    connection: sa.Connection, run: int, campaign: str | None, version: str | None, *, history: bool, limit: int
) -> list[dict[str, Any]]:
    """The records of a run in the order of its files; with `history` also those that are not shown. As JSON of `RecordSummary`."""
    d = result_table.c
    statement = sa.select(*_COLUMNS, d.scalars).where(d.run == run).order_by(d.file_index, d.input_did, d.id).limit(limit)
    if not history:
        statement = statement.where(d.shown)
    if campaign is not None:
        statement = statement.where(d.campaign == campaign)
    if version is not None:
        statement = statement.where(d.version == version)
    return [_summary(dict(row)) for row in connection.execute(statement).mappings()]


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    block = unpack(row.pop("scalars"), len(row["elements"]))
    row["elements"] = {
        element: {plane: _by_name(values) for plane, values in zip(PLANES, planes.tolist(), strict=True) if not math.isnan(values[0])}
        for element, planes in zip(row["elements"], block, strict=True)
    }
    return row


def _by_name(values: list[float]) -> dict[str, float | None]:
    # The numbers were float32: more than seven digits would be noise.
    return {name: None if math.isnan(value) else float(f"{value:.7g}") for name, value in zip(SCALARS, values, strict=True)}
