"""Tells without truth whether signal processing keeps its gain: compares the charge it finds with the area of the same pulses before."""

from __future__ import annotations

import numpy as np

from stages.nf_sp.resampling import TICK_NS
from stages.nf_sp.statistics import Samples

# A pulse's area is its charge x gain x this time: 2.2 us shaping, and the field of a collection wire and its ten neighbours on either side.
PULSE_US = 2.760
# The 14-bit ADC has 16383 counts for 1400 mV.
ADC_PER_MV = 16383 / 1400
FC_PER_E = 1.602177e-4

# Enough pulses, and quick.
CHANNEL_STEP = 4
# Ticks of 500 ns around a pulse that belong to it; pulses that share them count as one.
PAD_TICKS = 5
# Of fainter pulses noise is too large a part, and of fewer the median is not known to a per cent.
MIN_PULSE_E = 10_000.0
MIN_PULSES = 20


def sp_gain(samples: Samples, electrons: Samples, tick_ns: float, gain_mv_per_fc: float) -> float:
    """Median over pulses of charge after signal processing / (area before it / nominal area of an electron); 1 when nominal.

    For a collection plane: `samples` are its waveforms after noise filtering in ADC every `tick_ns`, pedestal 0, [channels, ticks];
    `electrons` its charge, [channels, ticks of 500 ns]. NaN with too few pulses.
    """
    charge, waveforms = electrons[::CHANNEL_STEP], samples[::CHANNEL_STEP]
    n_in, n_out = waveforms.shape[1], charge.shape[1]
    pixel = np.flatnonzero(charge > 0)
    if len(pixel) == 0:
        return float("nan")
    row = pixel // n_out
    begins = np.flatnonzero(np.concatenate(([True], (np.diff(pixel) > 2 * PAD_TICKS) | (np.diff(row) > 0))))
    ends = np.concatenate((begins[1:], [len(pixel)])) - 1
    pulse_e = np.add.reduceat(charge.ravel()[pixel].astype(np.float64), begins)
    wire = row[begins]
    ratio = TICK_NS / tick_ns
    first = np.floor((pixel[begins] - wire * n_out - PAD_TICKS) * ratio).astype(np.intp)
    last = np.ceil((pixel[ends] - wire * n_out + 1 + PAD_TICKS) * ratio).astype(np.intp)
    known = (pulse_e >= MIN_PULSE_E) & (first >= 0) & (last < n_in)
    if np.count_nonzero(known) < MIN_PULSES:
        return float("nan")
    edges = np.column_stack([first, last])[known] + (wire[known] * n_in)[:, None]
    area = np.add.reduceat(waveforms.ravel(), edges.ravel())[::2] * (tick_ns * 1e-3)
    nominal = gain_mv_per_fc * ADC_PER_MV * FC_PER_E * PULSE_US
    relative_area = float(np.median(area / (pulse_e[known] * nominal)))
    return 1 / relative_area if relative_area > 0 else float("nan")
