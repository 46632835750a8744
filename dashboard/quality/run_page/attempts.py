"""The records of all attempts at one raw file: the one that counts, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from dashboard.dqm.results import ResultRow
from dashboard.dqm.scalars import unpack
from dashboard.dqm.tables import result_table
from dashboard.quality.flags import Flag


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """A record of a raw file. `counts`: it is the one that is judged for the run; `scalars` [planes, scalars] by element."""

    row: ResultRow
    counts: bool
    received_at: float
    payload: str
    scalars: Mapping[str, NDArray[np.float32]]


_ROW = [result_table.c[name] for name in ResultRow.__slots__]


def read_attempts(connection: sa.Connection, campaign: str, version: str, input_did: str) -> list[AttemptRecord]:
    """The records of a raw file: the one that counts, then the others, the newest first."""
    d = result_table.c
    statement = (
        sa.select(*_ROW, d.shown, d.received_at, d.payload, d.scalars)
        .where(d.campaign == campaign, d.version == version, d.input_did == input_did)
        .order_by(d.shown.desc(), d.received_at.desc(), d.id.desc())
    )
    return [_attempt(row) for row in connection.execute(statement)]


def _attempt(row: Any) -> AttemptRecord:
    values = {name: getattr(row, name) for name in ResultRow.__slots__}
    block = unpack(row.scalars, len(row.elements))
    return AttemptRecord(
        row=ResultRow(**values | {"flag": Flag(row.flag)}),
        counts=row.shown,
        received_at=row.received_at,
        payload=row.payload,
        scalars=dict(zip(row.elements, block, strict=True)),
    )
