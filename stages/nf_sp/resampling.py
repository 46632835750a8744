"""Brings waveforms of the data acquisition's 512 ns to the ticks of 500 ns that noise filter and signal processing work in.

Wire-Cell's `Resampler`: a waveform is lengthened to a whole number of periods of both clocks (64 µs: 125 ticks of 512 ns, 128 of 500 ns)
by a line from its last to its first sample, its spectrum is continued by zeros, and the transform back has the new number of ticks.
Nothing is lost, as the new sampling is the finer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.nf_sp.statistics import Samples

TICK_NS = 500.0
# Rows transformed at a time, so that they stay in the processor's cache.
BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Grid:
    """`n_in` samples every `tick_ns` become `n_out` of 500 ns; `padded_in` and `padded_out` are the lengths of the transforms."""

    n_in: int
    tick_ns: float
    padded_in: int
    padded_out: int
    n_out: int

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.tick_ns != TICK_NS


@lru_cache(maxsize=8)
def grid(n_in: int, tick_ns: float) -> Grid:
    """The lengths for waveforms of `n_in` ticks of `tick_ns`.

    Raises:
        DataError: the readout is empty or sampled as no ProtoDUNE detector (512 or 500 ns) is.
    """
    if n_in < 2 or not TICK_NS <= tick_ns <= 1.1 * TICK_NS:
        raise DataError(f"{n_in} samples every {tick_ns:g} ns: cannot be brought to ticks of {TICK_NS:g} ns")
    ratio = Fraction(tick_ns / TICK_NS).limit_denominator(1000)
    periods = -(-n_in // ratio.denominator)
    return Grid(n_in, tick_ns, periods * ratio.denominator, periods * ratio.numerator, int(n_in * ratio))


def resample(rows: Samples, on: Grid) -> Samples:
    """Waveforms [rows, on.n_in] at ticks of 500 ns, [rows, on.n_out]; `rows` itself where nothing changes."""
    if not on.changes:
        return rows
    result = np.empty((len(rows), on.n_out), np.float32)
    extra = on.padded_in - on.n_in
    rise = (np.arange(1, extra + 1, dtype=np.float32) / (extra + 1))[None]
    scale = np.float32(on.padded_out / on.padded_in)
    padded = np.empty((BLOCK_ROWS, on.padded_in), np.float32)
    for begin in range(0, len(rows), BLOCK_ROWS):
        piece = rows[begin : begin + BLOCK_ROWS]
        block = padded[: len(piece)]
        # Pedestals are large, and single precision has seven digits.
        first = piece[:, :1]
        np.subtract(piece, first, out=block[:, : on.n_in])
        last = block[:, on.n_in - 1 : on.n_in]
        block[:, on.n_in :] = last - last * rise
        spectra = scipy.fft.rfft(block, axis=1)
        spectra *= scale
        np.add(scipy.fft.irfft(spectra, on.padded_out, axis=1)[:, : on.n_out], first, out=result[begin : begin + BLOCK_ROWS])
    return result


def resample_mask(mask: NDArray[np.bool_], on: Grid) -> NDArray[np.bool_]:
    """Which ticks of 500 ns touch a sample where `mask` [rows, on.n_in] is true, [rows, on.n_out]."""
    if not on.changes:
        return mask
    ratio = on.padded_in / on.padded_out
    tick = np.arange(on.n_out)
    first = np.minimum((tick * ratio).astype(np.intp), on.n_in - 1)
    last = np.minimum(np.ceil((tick + 1) * ratio).astype(np.intp) - 1, on.n_in - 1)
    touched: NDArray[np.bool_] = mask[:, first] | mask[:, last]
    return touched
