"""What the data-quality record says of each APA or CRP: one entry a plane, with its spreads, spectra, histograms and channels.

Apart from the record, as making these classes takes milliseconds that a job without any element need not spend.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    sp_gain: Number
    channels: Channels


@dataclass(frozen=True, slots=True)
class PlaneOfRecord:
    """One plane in one trigger record; `rms_nf_adc` is the median over its good channels."""

    plane: str
    hits: int
    charge_e: Number
    rms_nf_adc: Number
    n_missing: int


@dataclass(frozen=True, slots=True)
class ByRecord:
    """An element in one trigger record, so that those that stand out can be named."""

    record: int
    sequence: int
    planes: tuple[PlaneOfRecord, ...]


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
    by_record: tuple[ByRecord, ...]
