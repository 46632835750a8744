"""The first step of the noise filter: each channel by itself gets its baseline, and is dropped when it is dead or noisy.

Wire-Cell's `PDHDOneChannelNoise`: subtract the mean; subtract the median of the samples within 6 rms; measure the noise where there is no
signal. A channel whose noise is outside 10 to 50 ADC (at 14 mV/fC) carries no charge that could be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from stages.nf_sp.pedestal import REFERENCE_GAIN
from stages.nf_sp.statistics import HIGH, LOW, MIDDLE, Samples, mean_and_rms, quantiles, quantiles_of_chosen, width

# Outside, Wire-Cell drops a ProtoDUNE-HD channel (chndb-base.jsonnet), in ADC at 14 mV/fC.
QUIET_BELOW_ADC, NOISY_ABOVE_ADC = 10.0, 50.0
BASELINE_CLIP_RMS = 6.0
# Two programs that resample the same 14-bit samples in single precision differ by so much.
UNDECIDED_ADC = 0.004
SIGNAL_SIGMA = 4.0
# A signal and the 8 ticks before it and the 7 behind it are left out.
SIGNAL_PAD_TICKS = 8
BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Health:
    """Per channel, bool [channels]: has no samples at all, is too quiet, too noisy. At most one is true."""

    absent: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    noisy: NDArray[np.bool_]

    @property
    def good(self) -> NDArray[np.bool_]:
        return ~(self.absent | self.dead | self.noisy)


def centre_and_measure(rows: Samples, missing: NDArray[np.bool_] | None) -> Samples:
    """Bring every waveform's baseline (ADC, [rows, ticks]) to 0 in place; returns the noise of each in ADC, signals left out.

    Where `missing` (same shape, None: nowhere) is true there was no sample: it does not count, and becomes 0.
    """
    noise = np.empty(len(rows), np.float32)
    for begin in range(0, len(rows), BLOCK_ROWS):
        block = rows[begin : begin + BLOCK_ROWS]
        noise[begin : begin + BLOCK_ROWS] = _centre(block)
    if missing is not None:
        for row in np.flatnonzero(missing.any(axis=1)):
            delivered = ~missing[row]
            part = rows[row, delivered][None]
            noise[row] = _centre(part)[0] if part.size else 0
            rows[row] = 0
            rows[row, delivered] = part[0]
    return noise


def _centre(rows: Samples) -> Samples:
    rows -= rows.mean(axis=1)[:, None]
    mean, rms = mean_and_rms(rows)
    clipped = np.where(np.abs(rows - mean[:, None]) > (BASELINE_CLIP_RMS * rms)[:, None], mean[:, None], rows)
    rows -= quantiles(clipped, (MIDDLE,), UNDECIDED_ADC)[0][:, None]
    everything = width(*quantiles(rows, (LOW, MIDDLE, HIGH)))
    signal = np.abs(rows) > (SIGNAL_SIGMA * everything)[:, None]
    near = maximum_filter1d(signal.view(np.uint8), 2 * SIGNAL_PAD_TICKS, axis=1, origin=-1).view(np.bool_)
    return width(*quantiles_of_chosen(rows, ~near, (LOW, MIDDLE, HIGH)))


def health_of(noise: Samples, absent: NDArray[np.bool_], gain_mv_per_fc: float) -> Health:
    """Which channels are too quiet and which too noisy at this gain; `absent` ones are neither."""
    scale = gain_mv_per_fc / REFERENCE_GAIN
    return Health(absent, ~absent & (noise < QUIET_BELOW_ADC * scale), ~absent & (noise > NOISY_ABOVE_ADC * scale))
