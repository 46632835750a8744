"""Signal processing of one plane: from filtered ADC waveforms to the electrons of its signals.

A one-dimensional, simplified form of Wire-Cell's `OmnibusSigProc`: every channel is deconvolved by itself, and regions of interest are
found with the filters Wire-Cell uses for its tight regions. See docs/reference/stages.md for how it compares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp import deconvolution, regions
from stages.nf_sp.geometry import PlaneGeometry
from stages.nf_sp.pedestal import BLOCK_CHANNELS, Samples

# A signal is this many rms (plus 1 e) above the noise of its deconvolved channel.
COLLECTION_RMS, INDUCTION_RMS = 5.0, 3.0
# An induction region with less than this maximum and mean (electrons per tick) is noise unless a neighbour's is better.
FAKE_MAXIMUM_E, FAKE_MEAN_E = 750.0, 375.0
# The noise of a channel is known well enough from every fourth tick.
NOISE_STEP = 4
_MAD_TO_SIGMA = 1.4826


def of_plane(samples: Samples, plane: PlaneGeometry, on: deconvolution.Grid, gain_mv_per_fc: float) -> Samples:
    """Electrons per tick of 500 ns, whole numbers >= 0, float32 [channels, on.n_out]; 0 outside the regions of interest.

    `samples` are the plane's ADC waveforms after noise filtering, pedestal 0, float32 [channels, on.n_in]; channels of zeros give zeros.
    """
    charge, found = _deconvolve(samples, plane, on, gain_mv_per_fc)
    chosen = regions.runs(found[plane.pitch_order])
    if plane.induction:
        values = _content(charge, chosen, plane)
        chosen = chosen.select(regions.supported(chosen, _not_fake(values, chosen)))
    chosen = regions.extend(chosen)
    result = np.zeros_like(charge)
    if len(chosen):
        number, tick, _ = chosen.ticks()
        result[plane.pitch_order[chosen.wire[number]], tick] = np.trunc(np.maximum(_content(charge, chosen, plane), 0))
    return result


def _deconvolve(samples: Samples, plane: PlaneGeometry, on: deconvolution.Grid, gain_mv_per_fc: float) -> tuple[Samples, NDArray[np.bool_]]:
    """The deconvolved charge, and where signals stand out of the noise; [channels, n_out] both."""
    kernel = deconvolution.kernels(on, plane.role, plane.filters, gain_mv_per_fc)
    above = INDUCTION_RMS if plane.induction else COLLECTION_RMS
    charge = np.empty((len(samples), on.n_out), np.float32)
    found = np.zeros(charge.shape, np.bool_)
    for begin in range(0, len(samples), BLOCK_CHANNELS):
        rows = slice(begin, begin + BLOCK_CHANNELS)
        spectra = deconvolution.transform(samples[rows], on)
        for one in kernel.search:
            waveforms = deconvolution.apply(spectra, one, on)
            noise = _MAD_TO_SIGMA * np.median(np.abs(waveforms[:, ::NOISE_STEP]), axis=1)
            found[rows] |= waveforms > (above * noise + 1)[:, None]
        charge[rows] = deconvolution.apply(spectra, kernel.charge, on)
        if not plane.induction:
            charge[rows] -= np.median(charge[rows, ::NOISE_STEP], axis=1)[:, None]
    return charge, regions.widen(found)


def _content(charge: Samples, chosen: regions.Regions, plane: PlaneGeometry) -> Samples:
    """Charge of all ticks inside `chosen`; for induction planes above the line between each region's ends."""
    number, tick, offset = chosen.ticks()
    row = plane.pitch_order[chosen.wire]
    values: Samples = charge[row[number], tick]
    if plane.induction and len(chosen):
        begin, end = charge[row, chosen.start], charge[row, chosen.stop - 1]
        slope = (end - begin) / np.maximum(chosen.length - 1, 1)
        values = values - (begin[number] + slope[number].astype(np.float32) * offset.astype(np.float32))
    return values


def _not_fake(values: Samples, chosen: regions.Regions) -> NDArray[np.bool_]:
    if not len(chosen):
        return np.zeros(0, np.bool_)
    begin = np.cumsum(chosen.length) - chosen.length
    maximum, mean = np.maximum.reduceat(values, begin), np.add.reduceat(values, begin) / chosen.length
    good: NDArray[np.bool_] = (maximum >= FAKE_MAXIMUM_E) | (mean >= FAKE_MEAN_E)
    return good
