"""Medians, widths and noise of many waveforms at once, as Wire-Cell defines them (`Waveform`, `Derivations`, `ROI_formation`).

All functions take float32 [rows, ticks]. Wire-Cell reads a quantile q of n values off a histogram with n bins between the smallest and the
largest: it is the value at place floor(q n) in order, rounded to a whole bin. This matters: the noise a group of 40 channels shares is
rounded to a fortieth of their range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

# Wire-Cell's one-sigma points of a distribution.
LOW, MIDDLE, HIGH = 0.16, 0.5, 0.84
# Samples beyond this many rms do not count where the rms of noise is wanted.
CLIP_RMS = 4.5
# The rms that the search for signals starts from is that of samples below this many times the median deviation.
SEARCH_CLIP = 5.0
MAD_TO_SIGMA = np.float32(1.4826)
# Deconvolved samples beyond this do not count for the baseline, in electrons per tick.
BASELINE_LIMIT_E = np.float32(500.0)


def binned(value: Samples, low: Samples, high: Samples, count: NDArray[np.intp] | int, undecided: float = 0.0) -> Samples:
    """`value` as a histogram of `count` bins from `low` to `high` shows it; all of one shape.

    A value nearer than `undecided` to the edge between two bins lies between them: where bins are wide, it must not depend on the last
    digits of a number whether a value goes up or down.
    """
    width = (high - low) / np.maximum(count, 1)
    number = np.divide(value - low, width, out=np.zeros_like(width), where=width > 0)
    if undecided:
        below = np.floor(number)
        edge = np.divide(undecided, width, out=np.full_like(width, 0.5), where=width > 2 * undecided)
        number = below + np.clip((number - below - 0.5) / (2 * edge) + 0.5, 0, 1)
    else:
        number = np.rint(number)
    rounded: Samples = low + np.minimum(number, np.maximum(count, 1) - 1) * width
    return rounded.astype(np.float32, copy=False)


def quantiles(rows: Samples, fractions: tuple[float, ...], undecided: float = 0.0) -> list[Samples]:
    """Quantiles of each row, [rows] each, read off a histogram; `undecided` as for `binned`."""
    n = rows.shape[1]
    places = [min(int(fraction * n), n - 1) for fraction in fractions]
    ordered = np.sort(rows, axis=1)
    return [binned(ordered[:, place], ordered[:, 0], ordered[:, -1], n, undecided) for place in places]


def quantiles_of_chosen(rows: Samples, chosen: NDArray[np.bool_], fractions: tuple[float, ...]) -> list[Samples]:
    """The same of the `chosen` samples of each row alone; 0 for a row without any."""
    count = np.count_nonzero(chosen, axis=1)
    ordered = np.sort(np.where(chosen, rows, np.float32(np.inf)), axis=1)
    line, some = np.arange(len(rows)), count > 0
    ordered[~some] = 0
    low, high = ordered[:, 0], ordered[line, np.maximum(count - 1, 0)]
    places = ((fraction * count).astype(np.intp) for fraction in fractions)
    return [binned(ordered[line, np.minimum(place, np.maximum(count - 1, 0))], low, high, count) for place in places]


def width(low: Samples, middle: Samples, high: Samples) -> Samples:
    """The mean square of the two half widths of a distribution, as a root."""
    root: Samples = np.sqrt(((high - middle) ** 2 + (middle - low) ** 2) / 2)
    return root


def mean_and_rms(rows: Samples) -> tuple[Samples, Samples]:
    """Mean and standard deviation of each row."""
    return rows.mean(axis=1), rows.std(axis=1)


def clipped_mean_and_rms(rows: Samples) -> tuple[Samples, Samples]:
    """The same of the samples within 4.5 rms of the mean; 0 for a row that does not vary."""
    mean, rms = mean_and_rms(rows)
    deviation = rows - mean[:, None]
    inside = np.abs(deviation) < (CLIP_RMS * rms)[:, None]
    count = np.maximum(np.count_nonzero(inside, axis=1), 1).astype(np.float32)
    deviation *= inside
    shift = deviation.sum(axis=1) / count
    variance = np.einsum("rt,rt->r", deviation, deviation) / count - shift**2
    return mean + shift, np.sqrt(np.maximum(variance, 0))


def noise_rms(rows: Samples, masked: NDArray[np.bool_] | None = None) -> Samples:
    """Noise of each row that may be full of signal: the rms of samples within five times the median deviation from the median.

    Where `masked` (None: nowhere) is true a sample does not count.
    """
    if masked is not None and masked.any():
        result = noise_rms(rows)
        for row in np.flatnonzero(masked.any(axis=1)):
            kept = rows[row][~masked[row]]
            result[row] = noise_rms(kept[None])[0] if len(kept) else 0
        return result
    half = rows.shape[1] // 2
    middle = np.partition(rows, half, axis=1)[:, half]
    deviation = np.abs(rows - middle[:, None])
    deviation.partition(half, axis=1)
    limit = SEARCH_CLIP * MAD_TO_SIGMA * deviation[:, half]
    inside = np.where(np.abs(rows) < limit[:, None], rows, np.float32(0))
    count = np.maximum(np.count_nonzero(inside, axis=1), 1)
    root: Samples = np.sqrt(np.einsum("rt,rt->r", inside, inside) / count).astype(np.float32)
    return root


def centre(rows: Samples) -> None:
    """Bring the baseline of deconvolved rows to 0 in place: subtract the median of the samples within 500 e of the median."""
    half = rows.shape[1] // 2
    first = np.partition(rows, half, axis=1)[:, half]
    near = np.abs(rows - first[:, None]) < BASELINE_LIMIT_E
    count = np.count_nonzero(near, axis=1)
    # Those far from the median go half below and half above it, so that the row keeps its length and the middle its place.
    below = np.count_nonzero(rows < (first - BASELINE_LIMIT_E)[:, None], axis=1)
    place = np.minimum(below + count // 2, rows.shape[1] - 1)
    for target in np.unique(place):
        chosen = place == target
        rows[chosen] -= np.partition(rows[chosen], target, axis=1)[:, target][:, None]
