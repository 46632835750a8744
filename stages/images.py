"""Images of waveforms for event displays: a few levels, and the extreme of every few ticks. `nf_sp` makes them, `evaluate` draws them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# The levels of a waveform go from -WAVEFORM_LEVEL to WAVEFORM_LEVEL, those of charge from 0 to CHARGE_LEVEL. Few of them, and for
# waveforms one for zero: noise compresses to less than half, two pixels fit a byte, and tracks stand out as well.
WAVEFORM_LEVEL, CHARGE_LEVEL = 7, 14
# The range of a waveform's display, in units of the plane's noise, and of a charge display at least, in electrons per tick.
RANGE_RMS = 8.0
DEFAULT_RANGE_ADC = 100.0
MIN_RANGE_E = 1000.0
_CHARGE_QUANTILE = 0.99
# Channels worked on at a time, so that a block of them stays in the processor's cache.
_BLOCK_CHANNELS = 64

Image = NDArray[np.int8]
Floats = NDArray[np.float32]
Value = TypeVar("Value", np.float32, np.int8)


def waveform_range(rms_adc: Floats) -> float:
    """The range ± of a waveform display, in ADC, for a plane whose channels have noise `rms_adc` (NaN: unknown)."""
    known = rms_adc[np.isfinite(rms_adc)]
    rms = float(np.median(known)) if len(known) else 0.0
    return float(np.ceil(RANGE_RMS * rms)) or DEFAULT_RANGE_ADC


def charge_range(electrons: Floats) -> float:
    """The upper end of a charge display, in electrons per tick: what only 1 % of the pixels with charge exceed."""
    charged = electrons[electrons > 0]
    return max(MIN_RANGE_E, float(np.ceil(np.quantile(charged, _CHARGE_QUANTILE)))) if charged.size else MIN_RANGE_E


def waveforms(samples: Floats, range_adc: float) -> Image:
    """The levels of `samples` [channels, ticks] in ADC."""
    image = np.empty(samples.shape, np.int8)
    for rows in _blocks(len(samples)):
        image[rows] = np.rint(np.clip(samples[rows] * (WAVEFORM_LEVEL / range_adc), -WAVEFORM_LEVEL, WAVEFORM_LEVEL))
    return image


def charge(electrons: Floats, range_e: float) -> Image:
    """The levels of `electrons` [channels, ticks] per tick; the least charge is not nothing."""
    image = np.empty(electrons.shape, np.int8)
    for rows in _blocks(len(electrons)):
        image[rows] = np.ceil(np.clip(electrons[rows] * (CHARGE_LEVEL / range_e), 0, CHARGE_LEVEL))
    return image


def extremes(values: NDArray[Value], n_ticks: int) -> NDArray[Value]:
    """The value of largest magnitude of every `n_ticks` ticks, so that a short pulse stays visible: [channels, ceil(ticks / n_ticks)]."""
    if n_ticks == 1:
        return values
    n_channels, n_columns = len(values), -(-values.shape[1] // n_ticks)
    result = np.empty((n_channels, n_columns), values.dtype)
    padded = np.zeros((_BLOCK_CHANNELS, n_columns * n_ticks), values.dtype)
    for rows in _blocks(n_channels):
        block = padded[: len(values[rows])]
        block[:, : values.shape[1]] = values[rows]
        # NumPy is slow at reducing over so short an axis, so tick by tick of all columns at once.
        highest, lowest = block[:, ::n_ticks].copy(), block[:, ::n_ticks].copy()
        for offset in range(1, n_ticks):
            np.maximum(highest, block[:, offset::n_ticks], out=highest)
            np.minimum(lowest, block[:, offset::n_ticks], out=lowest)
        result[rows] = np.where(highest >= -lowest, highest, lowest)
    return result


def _blocks(n_channels: int) -> Iterator[slice]:
    return (slice(begin, begin + _BLOCK_CHANNELS) for begin in range(0, n_channels, _BLOCK_CHANNELS))
