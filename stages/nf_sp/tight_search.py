"""Finds where a deconvolved waveform surely holds signal: the tight regions of interest (Wire-Cell's `ROI_formation`).

On a collection plane signal is what exceeds 5 rms of the noise after the filter Wiener_tight. On induction planes, whose response has no
mean, slow noise is large after deconvolution; a low cut takes it away (and what it leaves of long signals is short): 3 rms after
Wiener_tight with ROI_tight_lf or with ROI_tighter_lf. 5 ticks on both sides belong to a region. Where wires w and w + 2 hold alike
regions and the wire between none, it gets one too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.regions import Regions, ordered, pairs, stretches
from stages.nf_sp.statistics import Samples

INDUCTION_RMS, COLLECTION_RMS = 3.0, 5.0
PAD_TICKS = 5
# Two regions are alike if their lengths differ by less than this part of their sum.
ASYMMETRY = 0.1


def above(waveforms: Samples, noise: Samples, rms: float) -> NDArray[np.bool_]:
    """Which samples exceed `rms` times the noise of their row (and 1 e, where there is no noise)."""
    high: NDArray[np.bool_] = waveforms > (rms * noise + 1)[:, None]
    return high


def tight_regions(signal: NDArray[np.bool_]) -> Regions:
    """The tight regions around what is `signal` [wires, ticks]."""
    core = stretches(signal)
    return with_bridges(_padded(core, signal.shape[1]))


def _padded(core: Regions, n_ticks: int) -> Regions:
    first, last = np.maximum(core.first - PAD_TICKS, 0), np.minimum(core.last + PAD_TICKS, n_ticks - 1)
    if not len(core):
        return core
    # A region that begins before the last tick of the one before it goes on with that.
    new = np.concatenate(([True], (core.wire[1:] != core.wire[:-1]) | (first[1:] >= last[:-1])))
    begins = np.flatnonzero(new)
    return Regions(core.wire[begins], first[begins], last[np.append(begins[1:], len(core)) - 1])


def with_bridges(regions: Regions) -> Regions:
    """The regions, and one between every two alike ones that are two wires apart with nothing between them."""
    length = regions.length
    left, right = pairs(regions, regions, 2, reach=length)
    alike = np.abs(length[left] - length[right]) < ASYMMETRY * (length[left] + length[right])
    left, right = left[alike], right[alike]
    first, last = (regions.first[left] + regions.first[right]) // 2, (regions.last[left] + regions.last[right]) // 2
    meets = (first < last) & (first <= np.minimum(regions.last[left], regions.last[right]))
    meets &= last >= np.maximum(regions.first[left], regions.first[right])
    bridges = Regions(regions.wire[left] + 1, first, last).select(meets)
    bridges = bridges.select(np.lexsort((bridges.first, bridges.wire)))
    taken, _ = pairs(bridges, regions, 0)
    free = np.ones(len(bridges), np.bool_)
    free[taken] = False
    bridges = bridges.select(free)
    same = (bridges.wire[1:] == bridges.wire[:-1]) & (bridges.first[1:] < bridges.last[:-1])
    return ordered(regions, bridges.select(np.concatenate(([True], ~same)) if len(bridges) else same))
