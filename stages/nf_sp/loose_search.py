"""Finds how far signals on an induction plane reach: the loose regions of interest (Wire-Cell's `ROI_formation`).

Long signals, of tracks that run along the drift, are mostly gone from the waveforms that tight regions are found in. Here only the
lowest frequencies are cut (ROI_loose_lf), and six ticks are taken together, so that what is left of slow noise matters less. A region grows
from a bin above the threshold of 3.5 rms down to 0.7 of it and on, as long as the waveform falls; a peak that stands out of its
surroundings makes a region too. Regions with nothing but signal between them are joined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.regions import Index, Regions, pairs, positions
from stages.nf_sp.statistics import Samples

BIN_TICKS = 6
THRESHOLD_RMS = 3.5
THRESHOLD_MAX_E = 10_000.0
LOWER = 0.7
# A waveform still falls if the mean of three bins rises by less than this (electrons per bin) to the next, or to the one behind it.
FALLS_E = np.float32(25.0)
# A peak's prominence is looked at this many bins to both sides.
NEAR_BINS = 3


def loose_regions(waveforms: Samples, noise: Samples, tight: Regions) -> Regions:
    """The loose regions of `waveforms` (electrons per tick, [wires, ticks]), each as long as the tight ones at its ends."""
    n_bins = waveforms.shape[1] // BIN_TICKS
    bins = waveforms[:, : n_bins * BIN_TICKS].reshape(len(waveforms), n_bins, BIN_TICKS).sum(axis=2)
    threshold = np.minimum(THRESHOLD_RMS * BIN_TICKS * noise, THRESHOLD_MAX_E).astype(np.float32)
    found = _joined(_grown(bins, threshold), bins, threshold)
    return _containing(Regions(found.wire, found.first * BIN_TICKS, found.last * BIN_TICKS + BIN_TICKS - 1), tight)


def _grown(bins: Samples, threshold: Samples) -> Regions:
    """Regions in bins: what grows around each bin above the threshold and each prominent peak."""
    n_wires, n_bins = bins.shape
    number = np.broadcast_to(np.arange(n_bins), bins.shape)
    down, up = _ends(bins)
    low = bins <= (LOWER * threshold)[:, None]
    wire = np.arange(n_wires)[:, None]
    before = np.maximum.accumulate(np.where(low, number, 0), axis=1)
    behind = np.minimum.accumulate(np.where(low, number, n_bins - 1)[:, ::-1], axis=1)[:, ::-1]
    high = bins > threshold[:, None]
    peak = np.zeros(bins.shape, np.bool_)
    peak[:, 1:-1] = (bins[:, 1:-1] > bins[:, :-2]) & (bins[:, 1:-1] > bins[:, 2:])
    begin = np.where(high, down[wire, before], down[wire, np.maximum(number - 1, 0)])
    end = np.where(high, up[wire, behind], up[wire, np.minimum(number + 1, n_bins - 1)])
    chosen = high | (peak & _prominent(bins, threshold, peak & ~high, begin, end))
    chosen[:, [0, -1]] = False
    return _one_after_the_other(chosen, begin, end)


def _ends(bins: Samples) -> tuple[Index, Index]:
    """How far the waveform falls from each bin on: to the left and to the right, bins [wires, bins]."""
    n_bins = bins.shape[1]
    around = (np.roll(bins, 1, axis=1) + bins + np.roll(bins, -1, axis=1)) / 3
    number = np.broadcast_to(np.arange(n_bins), bins.shape)

    def stops(direction: int) -> NDArray[np.bool_]:
        limit = around + FALLS_E
        stop: NDArray[np.bool_] = (np.roll(around, direction, axis=1) >= limit) & (np.roll(around, 2 * direction, axis=1) >= limit)
        return stop

    down = np.maximum.accumulate(np.where(stops(1), number, 0), axis=1)
    up = np.minimum.accumulate(np.where(stops(-1), number, n_bins - 1)[:, ::-1], axis=1)[:, ::-1]
    return down, up


def _prominent(bins: Samples, threshold: Samples, peak: NDArray[np.bool_], begin: Index, end: Index) -> NDArray[np.bool_]:
    """Which of the peaks stand out: [wires, bins]."""
    wire, at = np.nonzero(peak)
    result = np.zeros(bins.shape, np.bool_)
    if not len(wire):
        return result
    first, last = begin[wire, at], end[wire, at]
    number, place = positions(first, last)
    values = bins[wire[number], place]
    starts = np.cumsum(last - first + 1) - (last - first + 1)
    highest = np.maximum.reduceat(values, starts)
    top = np.minimum.reduceat(np.where(values == highest[number], place, bins.shape[1]), starts)
    limit = threshold[wire]
    stands = 2 * highest - bins[wire, first] - bins[wire, last] > 2 * limit
    left, right = np.maximum(top - NEAR_BINS, first), np.minimum(top + NEAR_BINS, last)
    steep = (highest - bins[wire, left] > LOWER * limit) & (highest - bins[wire, right] > LOWER * limit)
    result[wire, at] = stands | steep
    return result


def _one_after_the_other(chosen: NDArray[np.bool_], begin: Index, end: Index) -> Regions:
    """From left to right: the region of the first chosen bin, then that of the first one behind its end; those that meet are one."""
    n_wires, n_bins = chosen.shape
    following = np.full((n_wires, n_bins + 1), n_bins)
    following[:, :n_bins] = np.minimum.accumulate(np.where(chosen, np.arange(n_bins), n_bins)[:, ::-1], axis=1)[:, ::-1]
    wire, at = np.arange(n_wires), following[:, 0]
    steps = []
    while len(wire := wire[at < n_bins]):
        at = at[at < n_bins]
        steps.append((wire, begin[wire, at], end[wire, at]))
        at = following[wire, np.minimum(end[wire, at] + 1, n_bins)]
    if not steps:
        return Regions(*(np.empty(0, np.intp) for _ in range(3)))
    wires, first, last = (np.concatenate(column) for column in zip(*steps, strict=True))
    # The steps of one wire come in order; a stable sort by wire keeps it.
    order = np.argsort(wires, kind="stable")
    wires, first, last = wires[order], first[order], last[order]
    new = np.concatenate(([True], (wires[1:] != wires[:-1]) | (first[1:] > last[:-1])))
    begins = np.flatnonzero(new)
    return Regions(wires[begins], first[begins], last[np.append(begins[1:], len(wires)) - 1])


def _joined(regions: Regions, bins: Samples, threshold: Samples) -> Regions:
    """Neighbours become one when all between them stays above 0.7 of the threshold over the line from one's begin to the other's end."""
    while len(regions) > 1:
        left = np.flatnonzero(regions.wire[1:] == regions.wire[:-1])
        wire, begin, end = regions.wire[left], regions.first[left], regions.last[left + 1]
        number, place = positions(regions.last[left], regions.first[left + 1])
        if not len(number):
            return regions
        low, rise = bins[wire, begin], (bins[wire, end] - bins[wire, begin]) / (end - begin)
        line = low[number] + rise[number] * (place - begin[number])
        length = regions.first[left + 1] - regions.last[left] + 1
        filled = bins[wire[number], place] - line >= LOWER * threshold[wire[number]]
        join = left[np.logical_and.reduceat(filled, np.cumsum(length) - length)]
        # The first of each wire; the others are looked at again with what it has become.
        join = join[np.concatenate(([True], regions.wire[join[1:]] != regions.wire[join[:-1]]))] if len(join) else join
        if not len(join):
            return regions
        last = regions.last.copy()
        last[join] = regions.last[join + 1]
        keep = np.ones(len(regions), np.bool_)
        keep[join + 1] = False
        regions = Regions(regions.wire, regions.first, last).select(keep)
    return regions


def _containing(regions: Regions, tight: Regions) -> Regions:
    """Regions whose ends lie in a tight one reach to its end; what then meets is one."""
    first, last = regions.first.copy(), regions.last.copy()
    at, other = pairs(regions, tight, 0)
    begins = (tight.first[other] < regions.first[at]) & (regions.first[at] < tight.last[other])
    first[at[begins]] = tight.first[other[begins]]
    ends = (tight.first[other] < regions.last[at]) & (regions.last[at] < tight.last[other])
    last[at[ends]] = tight.last[other[ends]]
    if not len(regions):
        return regions
    new = np.concatenate(([True], (regions.wire[1:] != regions.wire[:-1]) | (first[1:] >= last[:-1])))
    starts = np.flatnonzero(new)
    return Regions(regions.wire[starts], first[starts], last[np.append(starts[1:], len(first)) - 1])
