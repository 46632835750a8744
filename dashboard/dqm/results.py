"""The records of a run that are shown, without their channels, spectra and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dashboard.dqm.metrics import elements_of
from dashboard.dqm.scalars import Scalars, stack
from dashboard.dqm.tables import result_table
from dashboard.quality.flags import Flag


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A record: `data_at` is when its data were taken, `folder` (in the workspace) where its files are."""

    id: int
    input_did: str
    file_index: int | None
    attempt: str
    data_at: float | None
    made_at: float
    folder: str
    flag: Flag
    verdict_id: int | None
    elements: Sequence[str]
    n_records: int | None
    n_used: int | None
    n_problems: int | None
    notes: Sequence[str]
    pictures_missing: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunResults:
    """`rows` in the order of writing; `scalars` [files, elements, planes, scalars] is theirs, NaN where a file has no number."""

    elements: list[str]
    rows: list[ResultRow]
    scalars: Scalars


_COLUMNS = [result_table.c[name] for name in ResultRow.__slots__]


def read_results(connection: sa.Connection, campaign: str, version: str, run: int) -> RunResults:
    """The records of a run as a campaign's version sees it."""
    d = result_table.c
    statement = (
        sa.select(*_COLUMNS, d.scalars, d.detector)
        .where(d.run == run, d.campaign == campaign, d.version == version, d.shown)
        .order_by(d.file_index.is_(None), d.file_index, d.input_did)
    )
    found = connection.execute(statement).all()
    seen = {element for row in found for element in row.elements}
    elements = [element for element in elements_of(found[0].detector, seen) if element in seen] if found else []
    return RunResults(elements, [_row(row) for row in found], stack([(row.elements, row.scalars) for row in found], elements))


def _row(row: Any) -> ResultRow:
    values = {column.name: value for column, value in zip(_COLUMNS, row, strict=False)}
    return ResultRow(**values | {"flag": Flag(values["flag"])})
