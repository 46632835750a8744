"""How far a plane is from the same plane of a reference run: its spectra, the charge of its hits, the noise of its channels.

A distance that cannot be told (nothing to compare, too few hits) is NaN: it is then not judged. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What the mean spectrum of a plane may differ by from file to file, whatever a reference of few files says: 2 % of its height.
SPECTRUM_PRECISION = 0.02
# With fewer hits the Kolmogorov distance of two samples of one distribution reaches the limits by chance: 1.36 / sqrt(200) = 0.1.
MIN_HITS = 200
# A channel has changed when its noise differs by more than this part.
CHANNEL_CHANGE = 0.25
# From fewer channels no fraction is made.
MIN_CHANNELS = 10


def floats(values: Sequence[float | None]) -> Floats:
    """Numbers of a record as an array, NaN for null; all NaN when one is beyond what a computer counts with."""
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return np.full(len(values), np.nan)


def spectrum_chi2(measured: Floats, reference: Floats, spread: Floats) -> float:
    """χ²/ndf of a mean spectrum against that of the reference: the mean over frequencies of ((m - r) / σ)².

    σ² is the square of `spread`, the standard deviation over the files of the reference run, plus that of 2 % of r, so that a reference of
    few files does not make all others look far away. Bins are averages over thousands of waveforms: σ is Gaussian, and known, as Pearson's
    χ² wants it (Particle Data Group, Review of Particle Physics, "Statistics", goodness of fit). 1: as the files of the reference among
    themselves; 25: five times as far, some 10 %.
    """
    if measured.shape != reference.shape:
        return np.nan
    variance = np.nan_to_num(spread) ** 2 + (SPECTRUM_PRECISION * reference) ** 2
    known = np.isfinite(measured) & np.isfinite(reference) & (variance > 0)
    if not known.any():
        return np.nan
    return float(np.mean((measured[known] - reference[known]) ** 2 / variance[known]))


def at_frequencies(wanted: Floats, frequency: Floats, values: Floats) -> Floats:
    """A spectrum at other frequencies (readout windows differ in length), by straight lines; NaN outside and beside what is NaN."""
    if wanted.shape == frequency.shape and np.allclose(wanted, frequency, rtol=1e-3):
        return values
    if len(frequency) < 2:
        return np.full(wanted.shape, np.nan)
    return np.interp(wanted, frequency, values, left=np.nan, right=np.nan)


def kolmogorov_distance(counts: Floats, reference: Floats) -> float:
    """Largest distance between the cumulative distributions of two histograms with the same bins, 0 to 1; NaN with too few entries.

    The two-sample statistic of Kolmogorov and Smirnov (Press et al., Numerical Recipes, 3rd ed., 14.3.3), of binned data as in ROOT's
    TH1::KolmogorovTest: it is never larger than that of the unbinned. The distance itself is judged, not its probability, which for the
    many hits of a run is 0 as soon as anything differs.
    """
    if counts.shape != reference.shape:
        return np.nan
    total, of_reference = counts.sum(), reference.sum()
    if not (total >= MIN_HITS and of_reference >= MIN_HITS):
        return np.nan
    return float(np.abs(np.cumsum(counts) / total - np.cumsum(reference) / of_reference).max())


def changed_fraction(rms: Floats, first: int, reference: Floats, reference_first: int) -> float:
    """Part of the channels, among those known in both, whose noise differs from the reference's by more than a quarter.

    Entry i is offline channel `first` + i.
    """
    begin, end = max(first, reference_first), min(first + len(rms), reference_first + len(reference))
    if end - begin < MIN_CHANNELS:
        return np.nan
    mine, other = rms[begin - first : end - first], reference[begin - reference_first : end - reference_first]
    known = np.isfinite(mine) & np.isfinite(other) & (other > 0)
    if np.count_nonzero(known) < MIN_CHANNELS:
        return np.nan
    return float(np.mean(np.abs(mine[known] / other[known] - 1) > CHANNEL_CHANGE))


class ReferencePlaneArrays:
    """What of a reference plane is compared to, made ready once: a reference is compared to thousands of files."""

    __slots__ = ("_at_last", "_counts", "_edges", "_first", "_frequency", "_rms", "_spectra")

    def __init__(self, spectrum: Mapping[str, Any], hit_charge_e: Mapping[str, Any], channels: Mapping[str, Any]) -> None:
        self._frequency = floats(spectrum["frequency_mhz"])
        names = ("before_adc", "before_spread_adc", "after_adc", "after_spread_adc")
        self._spectra = [floats(spectrum[name]) for name in names]
        self._at_last: tuple[tuple[float, ...], list[Floats]] = ((), [])
        self._edges = tuple(hit_charge_e["edges"])
        self._counts = floats(hit_charge_e["counts"])
        self._first = int(channels["first"])
        self._rms = floats(channels["rms_nf_adc"])

    def distances(self, plane: Any) -> tuple[float, float, float, float]:
        """The distances of a record's plane, in the order of `quantities.DISTANCES`."""
        before, before_spread, after, after_spread = self._at(plane.spectrum.frequency_mhz)
        histogram, channels = plane.hit_charge_e, plane.channels
        same_bins = histogram.edges == self._edges
        return (
            spectrum_chi2(floats(plane.spectrum.before_adc), before, before_spread),
            spectrum_chi2(floats(plane.spectrum.after_adc), after, after_spread),
            kolmogorov_distance(floats(histogram.counts), self._counts) if same_bins else np.nan,
            changed_fraction(floats(channels.rms_nf_adc), channels.first, self._rms, self._first),
        )

    def _at(self, frequency_mhz: tuple[float, ...]) -> list[Floats]:
        """The spectra at the frequencies of a file. Those of the files of a run are mostly the same."""
        kept_at, kept = self._at_last
        if frequency_mhz != kept_at or not kept:
            wanted = floats(frequency_mhz)
            kept = [at_frequencies(wanted, self._frequency, values) for values in self._spectra]
            self._at_last = (frequency_mhz, kept)
        return kept
