"""Gathers, while a raw file is processed, what `evaluate` needs to judge it: noise and spectra of every APA or CRP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from stages.nf_sp import gain
from stages.nf_sp.channel_noise import Health
from stages.nf_sp.geometry import ElementGeometry
from stages.nf_sp.noise_filter import Filtered
from stages.nf_sp.pedestal import BLOCK_CHANNELS, HIGH_POINT, LOW_POINT, Pedestals
from stages.nf_sp.resampling import TICK_NS
from stages.nf_sp.statistics import Samples
from stages.rawdata import RecordId

SPECTRUM_POINTS = 128
# A plane's mean spectrum is known well from every fourth of its channels, a channel's noise from every second tick.
SPECTRUM_STEP = 4
SPECTRUM_TICKS = 500
NOISE_STEP = 2
# Trigger records whose own numbers are kept, so that a file of many small ones does not fill the memory.
MAX_BY_RECORD = 500

_PER_PLANE = ("coherent_rms_before", "coherent_rms_after", "correlation_before", "correlation_after")


class Mean:
    """Mean over records of numbers that may be missing (NaN), element by element."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._count: NDArray[np.intp] | None = None

    def add(self, values: NDArray[Any]) -> None:
        known = np.isfinite(values)
        numbers = np.where(known, values, 0.0)
        if self._sum is None or self._count is None:
            self._sum, self._count = numbers.astype(np.float64), known.astype(np.intp)
        else:
            self._sum += numbers
            self._count += known

    def merge(self, other: Mean) -> None:
        """Add what another has gathered of other records."""
        if self._sum is None or self._count is None:
            self._sum, self._count = other._sum, other._count
        elif other._sum is not None and other._count is not None:
            self._sum += other._sum
            self._count += other._count

    @property
    def value(self) -> NDArray[np.float32]:
        """NaN where nothing was known."""
        if self._sum is None or self._count is None:
            return np.empty(0, np.float32)
        mean = np.full(self._sum.shape, np.nan, np.float32)
        np.divide(self._sum, self._count, out=mean, where=self._count > 0, casting="same_kind")
        return mean


@dataclass
class ElementQuality:
    """What is gathered of one element. Call `before`, `after` and `charge` once a record.

    `pictures` says what each image of the element is that went into the quality file (`stages.nf_sp.displays`).
    """

    geometry: ElementGeometry
    channels: NDArray[np.int32]
    channel_map: str
    tick_ns: float
    n_records: int = 0
    n_ticks: int = 0
    n_pulses: int = 0
    pictures: list[dict[str, Any]] = field(default_factory=list)
    by_record: list[dict[str, Any]] = field(default_factory=list)
    _means: dict[str, Mean] = field(default_factory=dict)

    def before(self, samples: Samples, pedestals: Pedestals, health: Health, whole: NDArray[np.bool_], n_ticks: int) -> None:
        """Take note of the samples (ADC at ticks of 500 ns) before noise filtering; `whole` channels are good and have no gaps.

        `n_ticks` is the length of the readout as it was delivered.
        """
        self.n_records += 1
        self.n_ticks = max(self.n_ticks, n_ticks)
        self._add("pedestal", pedestals.median)
        self._add("std_raw", pedestals.std)
        self._add("rms_raw", pedestals.sigma)
        self._add("missing", pedestals.missing)
        self._add("saturated", pedestals.saturated)
        for flag in ("absent", "dead", "noisy"):
            self._add(flag, getattr(health, flag))
        self._add("spectrum_before", self._spectra(samples, whole))

    def after(self, samples: Samples, filtered: Filtered, health: Health, whole: NDArray[np.bool_], record: RecordId, ident: int) -> None:
        """Take note of the samples after noise filtering, and of what the filter found.

        `ident` is the place of `record` in the file.
        """
        self.n_pulses += filtered.n_pulses
        rms = np.where(whole, _half_width(samples), np.nan)
        self._add("rms_nf", rms)
        self._note(record, ident, rms, health.absent)
        self._add("spectrum_after", self._spectra(samples, whole))
        measures = np.array([(one.rms_before, one.rms_after, one.correlation_before, one.correlation_after) for one in filtered.common])
        first_rows = np.array([group[0] for group in self.geometry.groups])
        for number, name in enumerate(_PER_PLANE):
            of_planes = np.full(len(self.geometry.planes), np.nan)
            for index, plane in enumerate(self.geometry.planes):
                of_plane = (first_rows >= plane.rows.start) & (first_rows < plane.rows.stop)
                known = measures[of_plane, number][np.isfinite(measures[of_plane, number])] if len(measures) else np.empty(0)
                if len(known):
                    of_planes[index] = known.mean()
            self._add(name, of_planes)

    def after_unseen(self, health: Health, record: RecordId, ident: int) -> None:
        """Take note that waveforms were filtered where we could not see them: what is judged of them is not known."""
        unknown = np.full(len(self.channels), np.nan)
        self._add("rms_nf", unknown)
        self._note(record, ident, unknown, health.absent)
        self._add("spectrum_after", np.full((len(self.geometry.planes), SPECTRUM_POINTS), np.nan))
        for name in _PER_PLANE:
            self._add(name, np.full(len(self.geometry.planes), np.nan))

    def charge(self, samples: Samples, gauss: Samples, noise_e: Samples, clipped_e: Sequence[float], gain_mv_per_fc: float) -> None:
        """Take note of signal processing, which made `gauss` of the filtered `samples`.

        `noise_e` is that of each channel after deconvolution (electrons per tick), `clipped_e` the charge below 0 of each plane.
        """
        self._add("noise_e", np.where(noise_e > 0, noise_e, np.nan))
        measures = np.full((4, len(self.geometry.planes)), np.nan)
        for index, plane in enumerate(self.geometry.planes):
            electrons = gauss[plane.rows]
            total = float(electrons.sum(dtype=np.float64))
            filled = electrons > 0
            if not plane.induction:
                measures[0, index] = gain.sp_gain(samples[plane.rows], electrons, TICK_NS, gain_mv_per_fc)
            measures[1, index] = np.count_nonzero(filled) / max(filled.size, 1)
            measures[2, index] = clipped_e[index] / total if total > 0 else np.nan
            measures[3, index] = np.count_nonzero(~filled.any(axis=1)) / max(len(filled), 1)
        for name, of_planes in zip(("sp_gain", "filled", "clipped", "without_signal"), measures, strict=True):
            self._add(name, of_planes)
        self._add("charge_e", np.array([gauss[plane.rows].sum(dtype=np.float64) for plane in self.geometry.planes]))

    def mean(self, name: str) -> NDArray[np.float32]:
        """The mean over records of what was gathered under `name`."""
        return self._means[name].value if name in self._means else np.empty(0, np.float32)

    def merge(self, other: ElementQuality) -> None:
        """Add what was gathered of the same element in later records."""
        self.n_records += other.n_records
        self.n_ticks = max(self.n_ticks, other.n_ticks)
        self.n_pulses += other.n_pulses
        self.pictures += other.pictures
        self.by_record = [*self.by_record, *other.by_record][:MAX_BY_RECORD]
        for name, mean in other._means.items():
            self._means.setdefault(name, Mean()).merge(mean)

    def summary(self) -> dict[str, Any]:
        """What `evaluate` is told of the element besides the arrays."""
        return {
            "element": self.geometry.element,
            "anode": self.geometry.anode,
            "channel_map": self.channel_map,
            "n_records": self.n_records,
            "n_ticks": self.n_ticks,
            "n_pulses": self.n_pulses,
            "tick_ns": self.tick_ns,
            "planes": [
                {"plane": plane.name, "first_channel": plane.first_channel, "first_row": plane.rows.start, "n_channels": plane.n_channels}
                for plane in self.geometry.planes
            ],
            "pictures": self.pictures,
            "by_record": self.by_record,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything gathered, by name; see docs/reference/stages.md."""
        result: dict[str, NDArray[Any]] = {name: self._means[name].value for name in self._means}
        result["channels"] = self.channels
        result["frequency_mhz"] = (np.arange(SPECTRUM_POINTS) + 0.5) / SPECTRUM_POINTS * 500.0 / TICK_NS
        return result

    def _note(self, record: RecordId, ident: int, rms: NDArray[Any], absent: NDArray[np.bool_]) -> None:
        """Keep the numbers of this one record."""
        if len(self.by_record) == MAX_BY_RECORD:
            return
        planes = []
        for plane in self.geometry.planes:
            known = rms[plane.rows][np.isfinite(rms[plane.rows])]
            planes.append(
                {
                    "rms_nf_adc": round(float(np.median(known)), 3) if len(known) else None,
                    "n_missing": int(np.count_nonzero(absent[plane.rows])),
                }
            )
        self.by_record.append({"ident": ident, "record": record.number, "sequence": record.sequence, "planes": planes})

    def _add(self, name: str, values: NDArray[Any]) -> None:
        self._means.setdefault(name, Mean()).add(values.astype(np.float64))

    def _spectra(self, samples: Samples, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Mean |FFT| of each plane's chosen channels over the root of the number of ticks: [planes, points]."""
        result = np.full((len(self.geometry.planes), SPECTRUM_POINTS), np.nan)
        # A length that is fast to transform, for a few ticks less.
        n_ticks = samples.shape[1] // SPECTRUM_TICKS * SPECTRUM_TICKS or samples.shape[1]
        for index, plane in enumerate(self.geometry.planes):
            rows = np.flatnonzero(chosen[plane.rows])[::SPECTRUM_STEP] + plane.rows.start
            if len(rows) == 0:
                continue
            spectrum = np.abs(scipy.fft.rfft(samples[rows, :n_ticks], axis=1)).mean(axis=0, dtype=np.float64)[1:] / np.sqrt(n_ticks)
            point = np.arange(len(spectrum)) * SPECTRUM_POINTS // max(len(spectrum), 1)
            count = np.bincount(point, minlength=SPECTRUM_POINTS)
            total = np.bincount(point, spectrum, minlength=SPECTRUM_POINTS)
            result[index] = np.divide(total, count, out=np.full(SPECTRUM_POINTS, np.nan), where=count > 0)
        return result


def _half_width(samples: Samples) -> Samples:
    """Half of the distance between the 16 % and the 84 % point of each channel."""
    width = np.empty(len(samples), np.float32)
    for begin in range(0, len(samples), BLOCK_CHANNELS):
        rows = slice(begin, begin + BLOCK_CHANNELS)
        ordered = np.sort(samples[rows, ::NOISE_STEP], axis=1)
        low, high = (ordered[:, round(point * (ordered.shape[1] - 1))] for point in (LOW_POINT, HIGH_POINT))
        width[rows] = (high - low) / 2
    return width
