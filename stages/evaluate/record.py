"""The data-quality (DQM) record of one raw file: what `evaluate` writes, `dqm_upload` sends and the dashboard keeps.

Standard library only. Every field is explained in docs/reference/dqm-record.md. A number that does not exist (a plane without a living
channel, a run without NF&SP) is None, in JSON null; NaN and infinity never appear. Units are in the names.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

RECORD_SCHEMA = 1

Number = float | None


@dataclass(frozen=True, slots=True)
class Range:
    """How a quantity is spread over the channels of a plane: median and the 5 % and 95 % points."""

    median: Number
    p05: Number
    p95: Number


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """A quantity before and after noise filtering."""

    before: Number
    after: Number


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Mean |FFT| over the good channels of a plane, divided by the root of the number of ticks, in ADC, before and after noise filtering.

    At most 128 points, each the mean of its frequency bins; the zero frequency is left out.
    """

    frequency_mhz: tuple[float, ...]
    before_adc: tuple[Number, ...]
    after_adc: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between `edges` (one more than counts); what lies beyond is in the last bin."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Channels:
    """Means over the records, one entry a channel: entry i is offline channel `first` + i; None where the channel has no samples."""

    first: int
    pedestal_adc: tuple[Number, ...]
    rms_raw_adc: tuple[Number, ...]
    rms_nf_adc: tuple[Number, ...]
    charge_e: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Plane:
    """One wire (strip) plane of an element: U, V or W."""

    plane: str
    n_channels: int
    n_missing: int
    n_dead: int
    n_noisy: int
    n_low: int
    n_high: int
    missing_fraction: Number
    saturated_fraction: Number
    pedestal_adc: Range
    std_raw_adc: Range
    rms_raw_adc: Range
    rms_nf_adc: Range
    coherent_rms_adc: BeforeAfter
    coherent_fraction: Number
    correlation: BeforeAfter
    spectrum: Spectrum
    charge_e: Number
    hits: Number
    hit_charge_e: Histogram
    sp_nonzero_fraction: Number
    channels: Channels


@dataclass(frozen=True, slots=True)
class Element:
    """One APA (ProtoDUNE-HD) or CRP (ProtoDUNE-VD)."""

    element: str
    anode: int
    channel_map: str
    n_records: int
    n_ticks: int
    tick_ns: float
    planes: tuple[Plane, ...]


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
    """An event display: a PNG file uploaded with the record. `kind` is raw, nf or sp, `record` the number of the trigger record."""

    name: str
    title: str
    element: str
    plane: str
    kind: str
    record: int


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
