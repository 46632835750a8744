"""The data-quality (DQM) record of one raw file: what `evaluate` writes, `dqm_upload` sends and the dashboard keeps.

Standard library only. Every field is explained in docs/reference/dqm-record.md. A number that does not exist (a plane without a living
channel, a run without NF&SP) is None, in JSON null; NaN and infinity never appear. Units are in the names.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.evaluate.elements import Element

RECORD_SCHEMA = 1

Number = float | None


@dataclass(frozen=True, slots=True)
class RecordProblem:
    """What is wrong with a trigger record; `element` is None when the whole record is concerned."""

    record: int
    sequence: int
    element: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class TriggerRecords:
    """What the file holds, and how much of it could be used. Times are DAQ timestamps (16 ns), `error_bits` the OR of all records."""

    n_records: int
    n_used: int
    n_unusable: int
    n_with_error_bits: int
    error_bits: int
    n_problems: int
    problems: tuple[RecordProblem, ...]
    first_record: int | None
    last_record: int | None
    first_timestamp: int | None
    last_timestamp: int | None


@dataclass(frozen=True, slots=True)
class Picture:
    """An event display: a PNG file uploaded with the record. `kind` is raw, nf or sp, `record` the number of the trigger record.

    Its columns are the `n_channels` offline channels from `first_channel` on; its rows, from the bottom, the `n_ticks` ticks of `tick_ns`,
    `ticks_per_pixel` in each. The colours go from `low` to `high` in `unit`.
    """

    name: str
    title: str
    element: str
    plane: str
    kind: str
    record: int
    sequence: int
    first_channel: int
    n_channels: int
    ticks_per_pixel: int
    n_ticks: int
    tick_ns: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Performance:
    """What `nf_sp` cost."""

    wall_s: Number
    cpu_s: Number
    rss_bytes: int | None
    input_bytes: int
    mb_per_s: Number
    cpu_s_by_step: dict[str, float]


@dataclass(frozen=True, slots=True)
class DqmRecord:
    """The data-quality record of one raw file, as (campaign, version) sees it. Times are seconds since the Unix epoch."""

    made_at: float
    input_did: str
    run: int
    file_index: int | None
    detector: str
    data_stream: str | None
    start_time: Number
    end_time: Number
    campaign: str
    version: str
    attempt: str
    payload: str
    gain_mv_per_fc: Number
    notes: tuple[str, ...]
    records: TriggerRecords | None
    elements: tuple[Element, ...]
    pictures: tuple[Picture, ...]
    performance: Performance
    stage: str = "evaluate"
    schema: int = RECORD_SCHEMA

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values; numbers that are not finite become None."""
        content: dict[str, Any] = _plain(asdict(self))
        return {"schema": content.pop("schema"), **content}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
