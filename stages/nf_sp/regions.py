"""Regions of interest: the stretches of a channel that hold signal, and how they support each other on neighbouring wires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

Index = NDArray[np.intp]

# Ticks of 500 ns added on both sides of what stands out of the noise.
PAD_TICKS = 5


@dataclass(frozen=True, slots=True)
class Regions:
    """Regions [start, stop) in ticks on `wire`, ordered by wire and start; those of one wire do not overlap."""

    wire: Index
    start: Index
    stop: Index

    def __len__(self) -> int:
        return len(self.wire)

    @property
    def length(self) -> Index:
        return self.stop - self.start

    def select(self, keep: NDArray[np.bool_]) -> Regions:
        return Regions(self.wire[keep], self.start[keep], self.stop[keep])

    def ticks(self) -> tuple[Index, Index, Index]:
        """All ticks inside: the number of the region each belongs to, the tick, and how far it is from the region's start."""
        length = self.length
        number = np.repeat(np.arange(len(self)), length)
        offset = np.arange(len(number)) - np.repeat(np.cumsum(length) - length, length)
        return number, self.start[number] + offset, offset


def widen(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`mask` [wires, ticks] with `PAD_TICKS` more on both sides of every true stretch."""
    wider: NDArray[np.bool_] = maximum_filter1d(mask.view(np.uint8), 2 * PAD_TICKS + 1, axis=1).view(np.bool_)
    return wider


def runs(mask: NDArray[np.bool_]) -> Regions:
    """The true stretches of each row of `mask` [wires, ticks]."""
    n_wires, n_ticks = mask.shape
    # A false column behind each row ends its last stretch there.
    line = np.zeros((n_wires, n_ticks + 1), np.bool_)
    line[:, :n_ticks] = mask
    flat = line.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate(([0], changes))
    start, stop = changes[::2], changes[1::2]
    wire = start // (n_ticks + 1)
    return Regions(wire, start - wire * (n_ticks + 1), stop - wire * (n_ticks + 1))


def links(regions: Regions) -> tuple[Index, Index]:
    """All pairs of regions on adjacent wires that share a tick: numbers of the one on wire w and of the one on wire w + 1."""
    if not len(regions):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    # Order by (wire, tick) in one number; no region reaches the next wire's numbers.
    span = int(regions.stop.max()) + 1
    starts, stops = regions.wire * span + regions.start, regions.wire * span + regions.stop
    first = np.searchsorted(stops, starts + span, side="right")
    last = np.searchsorted(starts, stops + span, side="left")
    count = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(regions)), count)
    upper = np.arange(len(lower)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    return lower, upper


def supported(regions: Regions, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which regions are `good` or touch a good one on an adjacent wire."""
    lower, upper = links(regions)
    result = good.copy()
    result[lower[good[upper]]] = True
    result[upper[good[lower]]] = True
    return result


def extend(regions: Regions) -> Regions:
    """Each region as long as those it touches on adjacent wires (Wire-Cell's ExtendROI); what then overlaps is split in the middle."""
    lower, upper = links(regions)
    start, stop = regions.start.copy(), regions.stop.copy()
    np.minimum.at(start, lower, regions.start[upper])
    np.minimum.at(start, upper, regions.start[lower])
    np.maximum.at(stop, lower, regions.stop[upper])
    np.maximum.at(stop, upper, regions.stop[lower])
    left = np.flatnonzero((regions.wire[1:] == regions.wire[:-1]) & (stop[:-1] > start[1:]))
    middle = (regions.stop[left] + regions.start[left + 1]) // 2
    stop[left], start[left + 1] = middle, middle
    return Regions(regions.wire, start, stop)
