"""Pedestal and noise of every channel, from its ADC samples, as the data acquisition delivered them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.statistics import Samples

MAX_ADC = 16383
# The points that lie one standard deviation below and above the median of a normal distribution.
LOW_POINT, HIGH_POINT = 0.158655, 0.841345
# The gain that limits and responses are given for, in mV/fC; at another they scale with it.
REFERENCE_GAIN = 14.0
# Channels worked on at a time, so that a block of them stays in the processor's cache.
BLOCK_CHANNELS = 64
_MISSING = np.uint16(0xFFFF)


@dataclass(frozen=True, slots=True)
class Pedestals:
    """Per channel, float32 [channels]; NaN where it has no samples.

    `median` is the pedestal, `std` the standard deviation (ddof 0, signals included), `sigma` half of the distance between the 16 % and
    the 84 % point (all ADC), `missing` the fraction of samples not delivered, `saturated` the fraction at 0 or 16383.
    """

    median: Samples
    std: Samples
    sigma: Samples
    missing: Samples
    saturated: Samples


def measure(adc: NDArray[np.uint16], missing: NDArray[np.bool_] | None) -> tuple[Pedestals, Samples]:
    """Pedestal and noise of `adc` [channels, ticks], and the samples minus the pedestals, float32.

    Where `missing` (same shape, None: nowhere) is true there is no sample: it does not count, and 0 stands in its place.
    """
    n_channels = len(adc)
    found = Pedestals(*(np.full(n_channels, np.nan, np.float32) for _ in range(3)), *(np.zeros(n_channels, np.float32) for _ in range(2)))
    samples = np.empty(adc.shape, np.float32)
    for begin in range(0, n_channels, BLOCK_CHANNELS):
        rows = slice(begin, begin + BLOCK_CHANNELS)
        _measure_block(adc[rows], None if missing is None else missing[rows], rows, found, samples[rows])
    return found, samples


def _measure_block(adc: NDArray[np.uint16], missing: NDArray[np.bool_] | None, rows: slice, found: Pedestals, samples: Samples) -> None:
    n_rows, n_ticks = adc.shape
    count = np.full(n_rows, n_ticks)
    if missing is not None and missing.any():
        # Above all ADC values, so that sorting puts missing samples last.
        adc = np.where(missing, _MISSING, adc)
        count -= np.count_nonzero(missing, axis=1)
    ordered = np.sort(adc, axis=1)
    absent = count == 0
    n = np.maximum(count, 1)
    line = np.arange(n_rows)
    median = (ordered[line, (n - 1) // 2].astype(np.float32) + ordered[line, n // 2]) / 2
    low, high = _point(ordered, n, LOW_POINT), _point(ordered, n, HIGH_POINT)
    np.subtract(adc, median[:, None], out=samples)
    if missing is not None:
        samples[missing] = 0
    variance = np.einsum("ct,ct->c", samples, samples) / n - (samples.sum(axis=1) / n) ** 2
    for target, value in ((found.median, median), (found.sigma, (high - low) / 2), (found.std, np.sqrt(np.maximum(variance, 0)))):
        target[rows] = np.where(absent, np.nan, value)
    found.missing[rows] = 1 - count / n_ticks
    suspects = np.flatnonzero((ordered[:, 0] == 0) | (ordered[line, n - 1] == MAX_ADC))
    stuck = (ordered[suspects] == 0) | (ordered[suspects] == MAX_ADC)
    found.saturated[suspects + rows.start] = np.count_nonzero(stuck, axis=1) / n[suspects]


def _point(ordered: NDArray[np.uint16], count: NDArray[np.intp], fraction: float) -> Samples:
    """The value below which `fraction` of the first `count` samples of each sorted row lie.

    An ADC count stands for everything within half a count of it, so the result is not bound to whole numbers.
    """
    rank = fraction * count
    value = ordered[np.arange(len(ordered)), rank.astype(np.intp)]
    below = np.count_nonzero(ordered < value[:, None], axis=1)
    upto = np.count_nonzero(ordered <= value[:, None], axis=1)
    point: Samples = (value - 0.5 + (rank - below) / (upto - below)).astype(np.float32)
    return point
