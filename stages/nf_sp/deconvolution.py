"""From ADC to electrons: division by the response of the wires, in time and across the wires.

A drifting electron induces current not only on the wire it arrives at. With the response R of 21 wires and the wanted charge Q, a plane's
waveforms are M(w, t) = sum over w', t' of R(w - w', t - t') Q(w', t'), so that in two-dimensional frequency space Q = M / R (Wire-Cell's
`OmnibusSigProc::decon_2D_init`). R is small where the wires answer little: the filters that follow keep that noise down, one across the
wires at once, those in time when a waveform is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from stages.nf_sp import filters
from stages.nf_sp import response as model
from stages.nf_sp.geometry import PlaneGeometry
from stages.nf_sp.statistics import Samples

# Zeros behind the samples and between the plane's ends, so that what lies at one end does not run into the other.
PAD_TICKS = 200
PAD_WIRES = 20
# Frequencies and rows transformed at a time, so that they stay in the processor's cache.
BLOCK_FREQUENCIES = 64
BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Deconvolved:
    """The charge of a plane before the filters in time: complex64 spectra [wires in order of pitch, padded // 2 + 1]."""

    spectra: NDArray[np.complex64]
    padded: int
    n_ticks: int

    def filtered(self, factors: filters.Factors, rows: slice = slice(None)) -> Samples:
        """Waveforms of the wires `rows` in electrons per tick of 500 ns, [wires, n_ticks]."""
        waveforms: Samples = scipy.fft.irfft(self.spectra[rows] * factors, self.padded, axis=1)[:, : self.n_ticks]
        return waveforms


def padded_ticks(n_ticks: int) -> int:
    """The length of the transforms for `n_ticks` ticks: with the zeros, rounded up to one that is fast to transform."""
    return int(scipy.fft.next_fast_len(n_ticks + PAD_TICKS, real=True))


def deconvolve(wires: Samples, plane: PlaneGeometry, gain_mv_per_fc: float, response: Path = model.PDHD) -> Deconvolved:
    """Deconvolve the waveforms of a plane (ADC around 0, [wires in order of pitch, ticks of 500 ns])."""
    n_wires, n_ticks = wires.shape
    padded, padded_wires = padded_ticks(n_ticks), n_wires + PAD_WIRES
    spectra = np.empty((n_wires, padded // 2 + 1), np.complex64)
    for begin in range(0, n_wires, BLOCK_ROWS):
        spectra[begin : begin + BLOCK_ROWS] = scipy.fft.rfft(wires[begin : begin + BLOCK_ROWS], padded, axis=1)
    # Half of the zeros lie before the first wire.
    before = PAD_WIRES // 2
    column = np.zeros((padded_wires, BLOCK_FREQUENCIES), np.complex64)
    inverse = _Inverse(plane.role, padded_wires, padded, gain_mv_per_fc, response)
    for begin in range(0, spectra.shape[1], BLOCK_FREQUENCIES):
        frequencies = slice(begin, begin + BLOCK_FREQUENCIES)
        piece = spectra[:, frequencies]
        block = column[:, : piece.shape[1]]
        block[before : before + n_wires] = piece
        charge = scipy.fft.fft(block, axis=0)
        charge *= inverse.at(frequencies)
        piece[:] = scipy.fft.ifft(charge, axis=0)[before : before + n_wires]
    return Deconvolved(spectra, padded, n_ticks)


class _Inverse:
    """What a plane's spectra are multiplied with: filter across wires / response, and the way back in time.

    The response's middle row is the wire that the charge drifts to, and the charge arrives `ARRIVAL_TICKS` after the response's start. The
    whole of it would be as large as the spectra, so it is made for a few frequencies at a time.
    """

    def __init__(self, role: str, n_wires: int, n_ticks: int, gain_mv_per_fc: float, response: Path) -> None:
        wires = model.response(role, gain_mv_per_fc, response).astype(np.float64)
        self._wires = scipy.fft.rfft(wires[:, :n_ticks], n_ticks, axis=1)
        self._rows = (np.arange(len(wires)) - len(wires) // 2) % n_wires
        self._filter = filters.wire(role, n_wires)[:, None]
        self._arrival = np.exp(-2j * np.pi * np.arange(self._wires.shape[1]) * model.ARRIVAL_TICKS / n_ticks)

    def at(self, frequencies: slice) -> NDArray[np.complex64]:
        """Its part for the given frequencies, [wires, frequencies]."""
        wires = self._wires[:, frequencies]
        answer = np.zeros((len(self._filter), wires.shape[1]), np.complex128)
        answer[self._rows] = wires
        answer = scipy.fft.fft(answer, axis=0)
        inverse = np.divide(self._filter * self._arrival[frequencies], answer, out=np.zeros_like(answer), where=answer != 0)
        factors: NDArray[np.complex64] = inverse.astype(np.complex64)
        return factors
