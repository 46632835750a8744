"""Decides which regions of interest hold signal, and where each begins and ends (Wire-Cell's `ROI_refinement`).

On an induction plane, from loose and tight regions:

1. *clean*: loose regions that hang together, wire by wire, stay only if one of them holds a tight region; tight regions outside of all
   loose ones join them;
2. *break*: two peaks with a deep valley between them are two signals, and what is below 3 rms between signals is none;
3. *shrink*: to what a tight region confirms, or a wire beside it, and 5 ticks on both sides;
4. *remove fakes*: below 750 e at the highest and 375 e in the mean, unless linked to a better one;
5. *extend*: to the ends of those it is linked to.

On a collection plane only the last two are needed. A region's content is what lies above the line between its ends, after the filter
Wiener_tight; two regions are linked if they are on neighbouring wires and both rise above 3 rms at the same tick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.breaking import broken
from stages.nf_sp.geometry import PlaneGeometry
from stages.nf_sp.regions import Index, Regions, clusters, content, extended, links, ordered, pairs, positions, touching
from stages.nf_sp.statistics import Samples

FAKE_MAXIMUM_E, FAKE_MEAN_E = 750.0, 375.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What differs from plane to plane: the threshold in rms of the noise, ticks kept beside a signal, how often regions are broken."""

    threshold_rms: float = 3.0
    pad_ticks: int = 5
    break_rounds: int = 2

    @classmethod
    def of(cls, plane: PlaneGeometry) -> Rules:
        """The rules for `plane`: looser ones for the APA that collects on its V plane, most of all for its W plane (sp.jsonnet)."""
        if not plane.swapped:
            return cls()
        return cls(threshold_rms=1.5, pad_ticks=20, break_rounds=0) if plane.name == "W" else cls(threshold_rms=2.5)


def of_induction(values: Samples, noise: Samples, tight: Regions, loose: Regions, rules: Rules) -> Regions:
    """The final regions of an induction plane; `values` [wires, ticks] after Wiener_tight, `noise` [wires] as in the search."""
    limit = (rules.threshold_rms * noise).astype(np.float32)
    tight, loose = _rising(values, tight, limit), _rising(values, loose, limit)
    regions = _clean(loose, *links(loose), tight)
    regions = ordered(regions, _outside(tight, regions))
    for _ in range(rules.break_rounds):
        regions = broken(values, regions, noise, limit)
        regions = _clean(regions, *_linked(values, regions, limit), tight)
    regions = _shrunk(values, regions, tight, limit, rules.pad_ticks)
    regions = _clean(regions, *_linked(values, regions, limit), tight)
    left, right = _linked(values, regions, limit)
    return _without_fakes(values, regions, left, right, limit)


def of_collection(values: Samples, noise: Samples, tight: Regions, rules: Rules) -> Regions:
    """The final regions of a collection plane, likewise."""
    limit = (rules.threshold_rms * noise).astype(np.float32)
    tight = _rising(values, tight, limit)
    return _without_fakes(values, tight, *links(tight), None)


def _rising(values: Samples, regions: Regions, limit: Samples) -> Regions:
    """Those that rise above the limit of their wire somewhere."""
    if not len(regions):
        return regions
    _, _, above = content(values, regions)
    return regions.select(np.maximum.reduceat(above, regions.begins()) > limit[regions.wire])


def _holding(regions: Regions, tight: Regions) -> NDArray[np.bool_]:
    """Which regions hold a tight one."""
    at, _ = pairs(regions, tight, 0)
    holding = np.zeros(len(regions), np.bool_)
    holding[at] = True
    return holding


def _clean(regions: Regions, left: Index, right: Index, tight: Regions) -> Regions:
    """Of regions that hang together by links, those of which one at least holds a tight region."""
    label = clusters(len(regions), left, right)
    alive = np.zeros(len(regions), np.bool_)
    alive[label[_holding(regions, tight)]] = True
    return regions.select(alive[label])


def _outside(tight: Regions, regions: Regions) -> Regions:
    at, _ = pairs(tight, regions, 0)
    outside = np.ones(len(tight), np.bool_)
    outside[at] = False
    return tight.select(outside)


def _strong(values: Samples, regions: Regions, limit: Samples) -> NDArray[np.bool_]:
    """Where the content of a region is above the limit of its wire, [wires + 2, ticks] with an empty wire on both sides."""
    strong = np.zeros((len(values) + 2, values.shape[1]), np.bool_)
    number, tick, above = content(values, regions)
    wire = regions.wire[number]
    strong[wire + 1, tick] = above > limit[wire]
    return strong


def _linked(values: Samples, regions: Regions, limit: Samples) -> tuple[Index, Index]:
    """All pairs on adjacent wires that are both strong at the same tick."""
    left, right = links(regions)
    if not len(left):
        return left, right
    strong = _strong(values, regions, limit)
    first = np.maximum(regions.first[left], regions.first[right])
    last = np.minimum(regions.last[left], regions.last[right])
    number, tick = positions(first, last)
    wire = regions.wire[left][number] + 1
    length = last - first + 1
    both = np.logical_or.reduceat(strong[wire, tick] & strong[wire + 1, tick], np.cumsum(length) - length)
    return left[both], right[both]


def _shrunk(values: Samples, regions: Regions, tight: Regions, limit: Samples, pad_ticks: int) -> Regions:
    """Each region from the first to the last tick that is confirmed, and `pad_ticks` on both sides."""
    if not len(regions):
        return regions
    strong = _strong(values, regions, limit)
    confirmed = strong[1:-1] & (strong[:-2] | strong[2:])
    number, tick = tight.ticks()
    confirmed[tight.wire[number], tick] = True
    number, tick = regions.ticks()
    marked = confirmed[regions.wire[number], tick]
    begins, n_ticks = regions.begins(), values.shape[1]
    first = np.minimum.reduceat(np.where(marked, tick, n_ticks), begins) - pad_ticks
    last = np.maximum.reduceat(np.where(marked, tick, -1), begins) + pad_ticks
    some = np.logical_or.reduceat(marked, begins)
    first = np.where(some, np.maximum(first, regions.first), regions.first)
    last = np.where(some, np.minimum(last, regions.last), regions.last)
    return Regions(regions.wire, first, last).select(first < last)


def _without_fakes(values: Samples, regions: Regions, left: Index, right: Index, limit: Samples | None) -> Regions:
    """What is large enough or linked to it, extended to what it is linked to; with `limit` None all that touch are linked."""
    if not len(regions):
        return regions
    _, _, above = content(values, regions)
    begins = regions.begins()
    good = np.maximum.reduceat(above, begins) > FAKE_MAXIMUM_E
    good |= np.add.reduceat(above, begins) > FAKE_MEAN_E * regions.length
    regions = regions.select(touching(len(regions), left, right, good))
    return extended(regions, *(links(regions) if limit is None else _linked(values, regions, limit)))
