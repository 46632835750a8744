"""From ADC samples to electrons: division by the response, filters, and the change to ticks of 500 ns, all in one pair of FFTs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.nf_sp import response as model
from stages.nf_sp.pedestal import Samples

TICK_NS = 500.0
# Zeros behind the samples, so that the end of a deconvolved waveform does not run into its start. Wire-Cell pads as much.
PAD_TICKS = 200


@dataclass(frozen=True, slots=True)
class Grid:
    """The lengths of the transforms: `n_in` samples padded to `padded_in`; `padded_out` come back, of which `n_out` are kept.

    `padded_in` input ticks last exactly as long as `padded_out` ticks of 500 ns, so both have the same frequencies (MHz).
    """

    n_in: int
    tick_ns: float
    padded_in: int
    padded_out: int
    n_out: int

    @property
    def frequency_mhz(self) -> NDArray[np.float64]:
        return np.arange(self.padded_in // 2 + 1) / (self.padded_in * self.tick_ns * 1e-3)


@lru_cache(maxsize=8)
def grid(n_in: int, tick_ns: float) -> Grid:
    """The grid for waveforms of `n_in` ticks of `tick_ns`.

    Raises:
        DataError: the readout is empty or sampled as no ProtoDUNE detector (512 or 500 ns) is.
    """
    if n_in < 1 or not TICK_NS <= tick_ns <= 1.1 * TICK_NS:
        raise DataError(f"{n_in} samples every {tick_ns:g} ns: cannot be brought to ticks of {TICK_NS:g} ns")
    ratio = Fraction(tick_ns / TICK_NS).limit_denominator(1000)
    blocks = scipy.fft.next_fast_len(-(-(n_in + PAD_TICKS) // ratio.denominator), real=True)
    return Grid(
        n_in=n_in,
        tick_ns=tick_ns,
        padded_in=blocks * ratio.denominator,
        padded_out=blocks * ratio.numerator,
        n_out=int(n_in * ratio),
    )


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a waveform's spectrum is multiplied with, complex64 [frequencies], to give electrons per tick of 500 ns.

    `charge` has the Gaussian filter that keeps the charge of a hit, `search` (one or two) those that make signals stand out of the noise.
    """

    charge: NDArray[np.complex64]
    search: tuple[NDArray[np.complex64], ...]


@lru_cache(maxsize=32)
def kernels(on: Grid, role: str, filters: str, gain_mv_per_fc: float) -> Kernels:
    """The kernels for a plane that answers as plane `role` does, with the filter constants `filters` (Wiener_tight, Wiener_tight_APA1)."""
    frequency = on.frequency_mhz
    answer = np.fft.rfft(model.response(role, gain_mv_per_fc), on.padded_out)[: len(frequency)]
    arrival = np.exp(-2j * np.pi * frequency * model.ARRIVAL_TICKS * model.TICK_US)
    invert = arrival / answer * (on.padded_out / on.padded_in)
    known = model.constants()
    wiener = model.high_cut(frequency, known[filters][role]["sigma_MHz"], known[filters][role]["power"])
    gauss = model.high_cut(frequency, known["Gaus_wide"]["sigma_MHz"], known["Gaus_wide"]["power"])
    if role == "W":
        search = [wiener]
    else:
        # The response of an induction plane has no mean: without a low cut its inverse is mostly amplified slow noise.
        gauss = gauss * model.low_cut(frequency, known["ROI_loose_lf_tau_MHz"])
        search = [wiener * model.low_cut(frequency, known[f"ROI_{kind}_lf_tau_MHz"]) for kind in ("tight", "tighter")]
    return Kernels(charge=(invert * gauss).astype(np.complex64), search=tuple((invert * one).astype(np.complex64) for one in search))


def transform(samples: Samples, on: Grid) -> NDArray[np.complex64]:
    """Spectra [channels, frequencies] of waveforms [channels, n_in]."""
    spectra: NDArray[np.complex64] = scipy.fft.rfft(samples, on.padded_in, axis=1)
    return spectra


def apply(spectra: NDArray[np.complex64], kernel: NDArray[np.complex64], on: Grid) -> Samples:
    """Waveforms [channels, n_out] in electrons per tick of 500 ns."""
    waveforms: Samples = scipy.fft.irfft(spectra * kernel, on.padded_out, axis=1)[:, : on.n_out]
    return waveforms
