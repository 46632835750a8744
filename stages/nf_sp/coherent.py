"""Removes the noise that the channels of one front-end board and plane share, without removing tracks.

After Wire-Cell's `PDHDCoherentNoiseSub`: the median over the channels of a group, tick by tick, is the common noise. Samples that look
like signal do not enter it, and where too many do, or the median itself looks like a track that crosses the whole group at once, nothing
is subtracted. Each channel gets the median subtracted in proportion to how strongly it shares it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from stages.nf_sp.pedestal import REFERENCE_GAIN, Samples

# A sample beyond this many sigma of its channel, and its neighbours in time, are taken as signal.
SIGNAL_SIGMA = 4.0
SIGNAL_PAD_TICKS = 20
# The median is a track's when it exceeds min(max(5 rms, 30 ADC), 100 ADC), at 14 mV/fC.
MEDIAN_RMS = 5.0
MEDIAN_MIN_ADC, MEDIAN_MAX_ADC = 30.0, 100.0
# The median needs this fraction of the group's channels, and at least this many.
MIN_FRACTION = 0.25
MIN_CHANNELS = 5
MAX_SCALE = 1.5
# The measures of quality look at every eighth tick: what they average over is still thousands of samples.
QUALITY_STEP = 8
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class CommonNoise:
    """Of one group, before and after: rms of the median waveform (ADC), and mean correlation of two of its channels; NaN when unknown."""

    rms_before: float
    rms_after: float
    correlation_before: float
    correlation_after: float


def remove(
    samples: Samples,
    sigma: Samples,
    good: NDArray[np.bool_],
    missing: NDArray[np.bool_] | None,
    groups: Sequence[NDArray[np.intp]],
    gain_mv_per_fc: float,
) -> list[CommonNoise]:
    """Subtract the common noise of every group from `samples` (float32 [channels, ticks], pedestal 0) in place.

    `sigma` [channels] is the noise of each channel in ADC. Only `good` channels take part and are changed.
    """
    measures = []
    for group in groups:
        rows = group[good[group]]
        if len(rows) < MIN_CHANNELS:
            measures.append(CommonNoise(np.nan, np.nan, np.nan, np.nan))
            continue
        waveforms = samples[rows]
        excluded = _signal(waveforms, sigma[rows])
        if missing is not None:
            excluded |= missing[rows]
        median = _protected(*_median(waveforms, excluded), len(rows), gain_mv_per_fc / REFERENCE_GAIN)
        cleaned = waveforms - _scale(waveforms, excluded, median)[:, None] * median
        if missing is not None:
            cleaned[missing[rows]] = 0
        samples[rows] = cleaned
        measures.append(_quality(waveforms, cleaned, excluded))
    return measures


def _signal(waveforms: Samples, sigma: Samples) -> NDArray[np.bool_]:
    """Where a channel carries signal, with some ticks on both sides."""
    beyond = np.abs(waveforms) > SIGNAL_SIGMA * sigma[:, None]
    widened: NDArray[np.bool_] = maximum_filter1d(beyond.view(np.uint8), 2 * SIGNAL_PAD_TICKS + 1, axis=1).view(np.bool_)
    return widened


def _median(waveforms: Samples, excluded: NDArray[np.bool_]) -> tuple[Samples, NDArray[np.intp]]:
    """Median over the channels of each tick, excluded samples left out (0 where none is left), and how many were left."""
    ordered = np.sort(np.where(excluded, np.float32(np.inf), waveforms), axis=0)
    count = len(waveforms) - np.count_nonzero(excluded, axis=0)
    tick = np.arange(waveforms.shape[1])
    lower, upper = ordered[np.maximum(count - 1, 0) // 2, tick], ordered[np.minimum(count // 2, len(ordered) - 1), tick]
    some = count > 0
    median = np.zeros(len(tick), np.float32)
    median[some] = (lower[some] + upper[some]) / 2
    return median, count


def _protected(median: Samples, count: NDArray[np.intp], n_channels: int, gain_scale: float) -> Samples:
    """`median`, but 0 wherever it is a track rather than noise, or rests on too few channels."""
    centre = np.median(median)
    rms = _MAD_TO_SIGMA * float(np.median(np.abs(median - centre)))
    limit = min(max(MEDIAN_RMS * rms, MEDIAN_MIN_ADC * gain_scale), MEDIAN_MAX_ADC * gain_scale)
    track = np.abs(median - centre) > limit
    unknown = maximum_filter1d(track.view(np.uint8), 2 * SIGNAL_PAD_TICKS + 1).view(np.bool_)
    unknown |= count < max(MIN_CHANNELS, MIN_FRACTION * n_channels)
    return np.where(unknown, np.float32(0), median)


def _scale(waveforms: Samples, excluded: NDArray[np.bool_], median: Samples) -> Samples:
    """How strongly each channel shares the median, relative to the mean of the group, in 0 … 1.5."""
    # einsum, not @: a job has one processor, and threads of the linear algebra would only wait for each other.
    kept = np.where(excluded, np.float32(0), waveforms)
    norm = np.einsum("ct,t->c", (~excluded).astype(np.float32), median * median)
    share = np.divide(np.einsum("ct,t->c", kept, median), norm, out=np.zeros_like(norm), where=norm > 0)
    mean = share.mean()
    if mean <= 0:
        return np.zeros_like(share)
    scale: Samples = np.clip(share / mean, 0, MAX_SCALE)
    return scale


def _quality(before: Samples, after: Samples, excluded: NDArray[np.bool_]) -> CommonNoise:
    seen = slice(None, None, QUALITY_STEP)
    left_out = excluded[:, seen]
    rms, correlation = [], []
    for waveforms in (before[:, seen], after[:, seen]):
        median, count = _median(waveforms, left_out)
        enough = count >= max(MIN_CHANNELS, MIN_FRACTION * len(waveforms))
        rms.append(float(np.std(median[enough])) if enough.any() else np.nan)
        correlation.append(_correlation(np.where(left_out, np.float32(0), waveforms)))
    return CommonNoise(rms[0], rms[1], correlation[0], correlation[1])


def _correlation(waveforms: Samples) -> float:
    """Mean correlation coefficient of two different channels (pedestal 0, signals set to 0)."""
    norm = np.sqrt(np.einsum("ct,ct->c", waveforms, waveforms))
    living = norm > 0
    n = int(np.count_nonzero(living))
    if n < 2:
        return np.nan
    # The sum over all pairs, each channel with itself included, is the square of the sum over channels.
    total = np.einsum("ct,c->t", waveforms[living], 1 / norm[living])
    return float((np.einsum("t,t->", total, total) - n) / (n * (n - 1)))
