"""Finds the long negative pulses that front-end boards (FEMB) send through all their channels at once, and masks them.

Wire-Cell's `PDHDFEMBNoiseSub`: in the sum of the 64 waveforms of half a board, a run of more than 50 ticks below -3.5 rms is such a pulse.
No signal of ionisation is that long and negative on all planes, so at least two of the three planes must show one by themselves. The
waveforms stay as they are; signal processing takes no charge from the masked ticks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.geometry import PlaneGeometry
from stages.nf_sp.regions import stretches
from stages.nf_sp.statistics import Samples, clipped_mean_and_rms

BELOW_RMS = 3.5
LONGER_THAN_TICKS = 50
PAD_TICKS = 20
CONFIRMING_PLANES = 2


def mask(samples: Samples, groups: Sequence[NDArray[np.intp]], planes: Sequence[PlaneGeometry], masked: NDArray[np.bool_]) -> int:
    """Mark in `masked` [channels, ticks] what is under a pulse; how many pulses there are.

    `samples` [channels, ticks] are waveforms around 0, dropped channels all 0. `groups` are the rows of half a board each.
    """
    n_pulses = 0
    for group in groups:
        combined = _pulses(samples[group])
        if not len(combined):
            continue
        parts = [group[(group >= plane.rows.start) & (group < plane.rows.stop)] for plane in planes]
        of_parts = [_pulses(samples[part]) if len(part) else combined[:0] for part in parts]
        confirming = sum(len(pulses) > 0 for pulses in of_parts)
        if confirming < CONFIRMING_PLANES:
            continue
        n_pulses += len(combined)
        for part, pulses in zip(parts, of_parts, strict=True):
            # Where all planes agree, each is masked over the pulses of the whole; otherwise over its own.
            for first, behind in combined if confirming == len(parts) else pulses:
                masked[part, first:behind] = True
    return n_pulses


def _pulses(waveforms: Samples) -> NDArray[np.intp]:
    """First tick and the tick behind each pulse, [pulses, 2].

    Wire-Cell's range ends with its last tick; signal processing then leaves that one in, and so do we.
    """
    total = waveforms.sum(axis=0)[None]
    mean, rms = clipped_mean_and_rms(total)
    found = stretches(total - mean[:, None] < (-BELOW_RMS * rms)[:, None])
    long = found.select(found.length > LONGER_THAN_TICKS)
    begin = np.maximum(long.first - PAD_TICKS, 0)
    behind = np.minimum(long.last + PAD_TICKS, total.shape[1] - 1)
    return np.column_stack([begin, behind])
