"""Removes the noise that the channels of one front-end board and plane share, without removing tracks.

Wire-Cell's `PDHDCoherentNoiseSub`. For each group of channels:

1. The median over the channels, tick by tick, is the common noise.
2. Where it is more than noise it is a track that crosses the whole group at once (an isochronous one): where it exceeds
   min(max(5 rms, 30 ADC), 100 ADC), and on induction planes also where its deconvolution exceeds max(5 rms, 0.01).
   20 ticks on both sides belong to it.
3. There the median is replaced by a line, so that the track stays. On induction planes only for channels in which the deconvolved stretch
   looks like signal (mostly positive, above 0.07): a track need not cross all channels of the group.
4. Each channel loses the median in proportion to how strongly it shares it, 0 to 1.5 times the mean of the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from stages.nf_sp import filters, response
from stages.nf_sp.geometry import ElementGeometry
from stages.nf_sp.pedestal import REFERENCE_GAIN
from stages.nf_sp.regions import Index, positions, stretches
from stages.nf_sp.statistics import Samples, binned, clipped_mean_and_rms, mean_and_rms

# Samples beyond this many times the mean rms of the group do not enter the median, nor do zeros (dropped channels).
MEDIAN_RMS = 5.0
ZERO_ADC = np.float32(0.001)
# Two programs that do the same in single precision differ by so much in a waveform around its baseline.
UNDECIDED_ADC = 0.01
SIGNAL_RMS = 5.0
SIGNAL_MIN_ADC, SIGNAL_MAX_ADC = 30.0, 100.0
SIGNAL_PAD_TICKS = 20
DECONVOLVED_LIMIT = 0.01
CHANNEL_LIMIT = 0.07
MIN_TO_MAX = 0.8
SHARE_RMS = 4.0
MAX_SCALE = np.float32(1.5)

# The measures of quality look at every eighth tick: what they average over is still thousands of samples.
QUALITY_STEP = 8
QUALITY_SIGMA = 4.0
MIN_CHANNELS = 5


@dataclass(frozen=True, slots=True)
class CommonNoise:
    """Of one group, before and after: rms of the median waveform (ADC), and mean correlation of two of its channels; NaN when unknown."""

    rms_before: float
    rms_after: float
    correlation_before: float
    correlation_after: float


@dataclass(frozen=True, slots=True)
class _Kernel:
    """How a group's median and channels are deconvolved: spectra to multiply with, complex64, and the ticks that the result is early."""

    n_ticks: int
    median: NDArray[np.complex64]
    channel: NDArray[np.complex64]
    early_ticks: int


def remove(samples: Samples, sigma: Samples, geometry: ElementGeometry, gain_mv_per_fc: float) -> list[CommonNoise]:
    """Subtract the common noise of every group from `samples` (ADC around 0, [channels, ticks of 500 ns]) in place.

    Dropped channels are all 0 and stay so. `sigma` [channels] is the noise of each channel in ADC; only the returned measures need it.
    """
    scale = gain_mv_per_fc / REFERENCE_GAIN
    measures = []
    for group in geometry.groups:
        plane = next(plane for plane in geometry.planes if plane.rows.start <= group[0] < plane.rows.stop)
        waveforms = samples[group]
        if not waveforms.any():
            measures.append(CommonNoise(np.nan, np.nan, np.nan, np.nan))
            continue
        kernel = _kernel(plane.name, plane.tight_filter, waveforms.shape[1], scale) if plane.has_noise_kernel else None
        cleaned = _clean(waveforms, kernel, scale)
        samples[group] = cleaned
        measures.append(_quality(waveforms, cleaned, sigma[group]))
    return measures


def _clean(waveforms: Samples, kernel: _Kernel | None, scale: float) -> Samples:
    median = _median(waveforms)
    first, last = _tracks(median, kernel, scale)
    if kernel is None:
        median = _bridged(median[None], np.zeros(len(first), np.intp), first, last)[0]
        common = np.broadcast_to(median, waveforms.shape)
    else:
        common = np.repeat(median[None], len(waveforms), axis=0)
        if len(first):
            row, track = np.nonzero(_carries(waveforms, kernel, first, last))
            common = _bridged(common, row, first[track], last[track])
    share = _share(waveforms, median)
    cleaned: Samples = waveforms - np.where(np.abs(waveforms) > ZERO_ADC, common * share[:, None], np.float32(0))
    return cleaned


def _median(waveforms: Samples) -> Samples:
    """Median over the channels of each tick; 0 where none is left."""
    _, rms = mean_and_rms(waveforms)
    limit = MEDIAN_RMS * rms[rms > 0].mean()
    size = np.abs(waveforms)
    left_out = (size >= limit) | (size <= ZERO_ADC)
    ordered = np.sort(np.where(left_out, np.float32(np.inf), waveforms), axis=0)
    count = len(waveforms) - np.count_nonzero(left_out, axis=0)
    tick = np.arange(waveforms.shape[1])
    ordered[:, count == 0] = 0
    return binned(ordered[count // 2, tick], ordered[0], ordered[np.maximum(count - 1, 0), tick], count, UNDECIDED_ADC)


def _tracks(median: Samples, kernel: _Kernel | None, scale: float) -> tuple[Index, Index]:
    """Where the median is a track: first and last tick of each stretch."""
    mean, rms = (float(value[0]) for value in clipped_mean_and_rms(median[None]))
    limit = min(max(SIGNAL_RMS * rms, SIGNAL_MIN_ADC * scale), SIGNAL_MAX_ADC * scale)
    signal = np.abs(median - mean) > limit
    if kernel is not None:
        charge = _deconvolved(median[None], kernel.median, kernel)[0]
        mean, rms = (float(value[0]) for value in clipped_mean_and_rms(charge[None]))
        signal |= np.roll(charge - mean > max(SIGNAL_RMS * rms, DECONVOLVED_LIMIT), kernel.early_ticks)[: len(signal)]
    near = maximum_filter1d(signal.view(np.uint8), 2 * SIGNAL_PAD_TICKS + 1).view(np.bool_)
    found = stretches(near[None])
    return found.first, found.last


def _carries(waveforms: Samples, kernel: _Kernel, first: Index, last: Index) -> NDArray[np.bool_]:
    """Which channels carry which of the tracks, [channels, tracks]."""
    n_channels, n_ticks = waveforms.shape
    row = np.repeat(np.arange(n_channels), len(first))
    inside = np.zeros_like(waveforms)
    lines = _bridged(waveforms, row, np.tile(first, n_channels), np.tile(last, n_channels))
    for begin, end in zip(first, last + 1, strict=True):
        inside[:, begin:end] = waveforms[:, begin:end] - lines[:, begin:end]
    charge = np.roll(_deconvolved(inside, kernel.channel, kernel), kernel.early_ticks, axis=1)
    carries = np.empty((n_channels, len(first)), np.bool_)
    for number, (begin, end) in enumerate(zip(np.maximum(first - 1, 0), np.minimum(last + 1, n_ticks - 1) + 1, strict=True)):
        highest, lowest = charge[:, begin:end].max(axis=1), charge[:, begin:end].min(axis=1)
        carries[:, number] = (highest > CHANNEL_LIMIT) & (np.abs(lowest) < MIN_TO_MAX * highest)
    return carries


def _deconvolved(rows: Samples, factors: NDArray[np.complex64], kernel: _Kernel) -> Samples:
    result: Samples = scipy.fft.irfft(scipy.fft.rfft(rows, kernel.n_ticks, axis=1) * factors, kernel.n_ticks, axis=1)
    return result


@lru_cache(maxsize=16)
def _kernel(role: str, filter_set: str, n_ticks: int, scale: float) -> _Kernel:
    padded = scipy.fft.next_fast_len(n_ticks, real=True)
    answer, early_ticks = response.noise_kernel(role)
    spectrum = np.fft.rfft(answer * scale, padded)
    tight = filters.high_cut(filter_set, role, padded) / spectrum
    return _Kernel(
        padded,
        (tight * filters.low_cut("ROI_tighter_lf", padded)).astype(np.complex64),
        (tight * filters.low_cut("ROI_loose_lf", padded)).astype(np.complex64),
        early_ticks,
    )


def _bridged(rows: Samples, row: Index, first: Index, last: Index) -> Samples:
    """A copy of `rows` with a line instead of each stretch, from the tick before it to the tick behind it."""
    result = rows.copy()
    number, tick = positions(first, last)
    before, behind = np.maximum(first - 1, 0), np.minimum(last + 1, rows.shape[1] - 1)
    begin, rise = rows[row, before], (rows[row, behind] - rows[row, before]) / np.maximum(behind - before, 1)
    result[row[number], tick] = begin[number] + rise[number] * (tick - before[number]).astype(np.float32)
    return result


def _share(waveforms: Samples, median: Samples) -> Samples:
    """How strongly each channel shares the median, relative to the mean of the group, in 0 … 1.5."""
    # einsum, not @: a job has one processor, and threads of the linear algebra would only wait for each other.
    _, rms = clipped_mean_and_rms(waveforms)
    quiet = np.abs(waveforms) < (SHARE_RMS * rms)[:, None]
    norm = np.einsum("ct,t->c", quiet.astype(np.float32), median * median)
    product = np.einsum("ct,t->c", np.where(quiet, waveforms, np.float32(0)), median)
    share = np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)
    some = share != 0
    mean = share[some].mean() if some.any() else 0
    if mean == 0:
        return np.zeros_like(share)
    scale: Samples = np.clip(share / mean, 0, MAX_SCALE)
    return scale


def _quality(before: Samples, after: Samples, sigma: Samples) -> CommonNoise:
    """The measures, from samples without signal (4 sigma and 20 ticks around)."""
    alive = np.flatnonzero(sigma > 0)
    if len(alive) < MIN_CHANNELS:
        return CommonNoise(np.nan, np.nan, np.nan, np.nan)
    beyond = np.abs(before[alive]) > (QUALITY_SIGMA * sigma[alive])[:, None]
    signal = maximum_filter1d(beyond.view(np.uint8), 2 * SIGNAL_PAD_TICKS + 1, axis=1).view(np.bool_)[:, ::QUALITY_STEP]
    rms, correlation = [], []
    for waveforms in (before[alive, ::QUALITY_STEP], after[alive, ::QUALITY_STEP]):
        quiet = np.where(signal, np.float32(np.nan), waveforms)
        enough = np.count_nonzero(~signal, axis=0) >= max(MIN_CHANNELS, len(alive) // 4)
        rms.append(float(np.std(np.nanmedian(quiet[:, enough], axis=0))) if enough.any() else np.nan)
        correlation.append(_correlation(np.where(signal, np.float32(0), waveforms)))
    return CommonNoise(rms[0], rms[1], correlation[0], correlation[1])


def _correlation(waveforms: Samples) -> float:
    """Mean correlation coefficient of two different channels (baseline 0, signals set to 0)."""
    norm = np.sqrt(np.einsum("ct,ct->c", waveforms, waveforms))
    living = norm > 0
    n = int(np.count_nonzero(living))
    if n < 2:
        return np.nan
    # The sum over all pairs, each channel with itself included, is the square of the sum over channels.
    total = np.einsum("ct,c->t", waveforms[living], 1 / norm[living])
    return float((np.einsum("t,t->", total, total) - n) / (n * (n - 1)))
