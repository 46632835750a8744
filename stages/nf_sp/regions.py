"""Regions of interest: the stretches of a wire's waveform that hold signal, and how they touch each other on neighbouring wires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.statistics import Samples

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Regions:
    """Regions from tick `first` to tick `last`, both included, on `wire`; ordered by wire and tick.

    Those of one wire do not overlap, but the last tick of one may be the first of the next.
    """

    wire: Index
    first: Index
    last: Index

    def __len__(self) -> int:
        return len(self.wire)

    @property
    def length(self) -> Index:
        return self.last - self.first + 1

    def select(self, keep: NDArray[np.bool_] | Index) -> Regions:
        return Regions(self.wire[keep], self.first[keep], self.last[keep])

    def ticks(self) -> tuple[Index, Index]:
        """All ticks inside, one region behind the other: the number of the region each belongs to, and the tick."""
        return positions(self.first, self.last)

    def begins(self) -> Index:
        """Where each region begins among all `ticks`."""
        length = self.length
        begins: Index = np.cumsum(length) - length
        return begins


def ordered(*parts: Regions) -> Regions:
    """All regions of `parts` in order."""
    wire, first, last = (np.concatenate([getattr(part, name) for part in parts]) for name in ("wire", "first", "last"))
    return Regions(wire, first, last).select(np.lexsort((first, wire)))


def stretches(mask: NDArray[np.bool_]) -> Regions:
    """The true stretches of each row of `mask` [wires, ticks]."""
    n_wires, n_ticks = mask.shape
    # A false column behind each row ends its last stretch there.
    line = np.zeros((n_wires, n_ticks + 1), np.bool_)
    line[:, :n_ticks] = mask
    flat = line.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate(([0], changes))
    first, behind = changes[::2], changes[1::2]
    wire = first // (n_ticks + 1)
    return Regions(wire, first - wire * (n_ticks + 1), behind - 1 - wire * (n_ticks + 1))


def positions(first: Index, last: Index) -> tuple[Index, Index]:
    """All places from `first` to `last` of each stretch, one stretch behind the other: the number of the stretch, and the place."""
    length = last - first + 1
    number = np.repeat(np.arange(len(first)), length)
    offset = np.arange(len(number)) - np.repeat(np.cumsum(length) - length, length)
    return number, first[number] + offset


def pairs(these: Regions, those: Regions, distance: int, reach: Index | int = 0) -> tuple[Index, Index]:
    """All pairs of one of `these` on wire w and one of `those` on wire w + distance that share more than one tick: their numbers.

    With `reach` [these] also those that only come as near as that many ticks.
    """
    if not len(these) or not len(those):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    # Order by (wire, tick) in one number; nothing reaches the next wire's numbers.
    far = int(np.max(reach, initial=0))
    span = int(max(these.last.max(), those.last.max())) + 2 * far + 2
    on_wire = (these.wire + distance) * span + far
    begin = np.searchsorted(those.wire * span + far + those.last, on_wire + these.first - reach, side="right")
    end = np.searchsorted(those.wire * span + far + those.first, on_wire + these.last + reach, side="left")
    count = np.maximum(end - begin, 0)
    left = np.repeat(np.arange(len(these)), count)
    right = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
    return left, right


def links(regions: Regions) -> tuple[Index, Index]:
    """All pairs on adjacent wires that share more than one tick."""
    return pairs(regions, regions, 1)


def touching(number: int, left: Index, right: Index, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of `number` regions are `good` or linked to a good one."""
    result = good.copy() if number else good
    result[left[good[right]]] = True
    result[right[good[left]]] = True
    return result


def clusters(number: int, left: Index, right: Index) -> Index:
    """For each of `number` regions the lowest number of those it hangs together with by links."""
    label = np.arange(number)
    while True:
        before = label.copy()
        lowest = np.minimum(label[left], label[right])
        np.minimum.at(label, left, lowest)
        np.minimum.at(label, right, lowest)
        label = label[label]
        if np.array_equal(label, before):
            return label


def content(values: Samples, regions: Regions) -> tuple[Index, Index, Samples]:
    """What lies in the regions of `values` [wires, ticks] above the line between each one's ends: number of the region, tick, and value."""
    number, tick = regions.ticks()
    begin, end = values[regions.wire, regions.first], values[regions.wire, regions.last]
    slope = (end - begin) / np.maximum(regions.last - regions.first, 1).astype(np.float32)
    above: Samples = values[regions.wire[number], tick] - (
        begin[number] + slope[number] * (tick - regions.first[number]).astype(np.float32)
    )
    return number, tick, above


def extended(regions: Regions, left: Index, right: Index) -> Regions:
    """Each region as long as those it is linked to (Wire-Cell's ExtendROIs); what then overlaps on one wire is split in the middle."""
    first, last = regions.first.copy(), regions.last.copy()
    np.minimum.at(first, left, regions.first[right])
    np.minimum.at(first, right, regions.first[left])
    np.maximum.at(last, left, regions.last[right])
    np.maximum.at(last, right, regions.last[left])
    over = np.flatnonzero((regions.wire[1:] == regions.wire[:-1]) & (last[:-1] > first[1:]))
    middle = (regions.last[over] + regions.first[over + 1]) // 2
    last[over], first[over + 1] = middle, middle
    return Regions(regions.wire, first, last)
