"""Signal processing of one plane: from filtered ADC waveforms to the electrons of its signals (Wire-Cell's `OmnibusSigProc`).

deconvolution → search for regions of interest → refinement → charge in them. Two results, in electrons per tick of 500 ns: `gauss`, after
the filter Gaus_wide, which keeps the charge of a hit, and `wiener`, after Wiener_wide, which makes hits narrow and 4 to 8 % too large.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp import filters, loose_search, refinement, tight_search
from stages.nf_sp import response as model
from stages.nf_sp.baseline import straighten
from stages.nf_sp.deconvolution import BLOCK_ROWS, Deconvolved, deconvolve
from stages.nf_sp.geometry import PlaneGeometry
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.regions import Regions, content
from stages.nf_sp.statistics import Samples, centre, noise_rms


@dataclass(frozen=True, slots=True)
class Charge:
    """Of one plane: electrons per tick, whole numbers >= 0, float32 [channels, ticks]; and the noise of each channel's deconvolved waveform
    (electrons per tick, [channels]), which thresholds are multiples of.

    `clipped_e` is the charge below 0 inside the regions of `gauss`, which is left out.
    """

    gauss: Samples
    wiener: Samples
    noise_e: Samples
    clipped_e: float


def of_plane(
    samples: Samples,
    masked: NDArray[np.bool_],
    plane: PlaneGeometry,
    gain_mv_per_fc: float,
    response: Path = model.PDHD,
    watch: Stopwatch | None = None,
) -> Charge:
    """Process the plane's `samples` (ADC around 0, [channels, ticks of 500 ns]); no charge where `masked` is true. Neither is changed.

    `watch` is told what deconvolution, search, regions and charge cost.
    """
    watch = watch or Stopwatch()
    order = plane.pitch_order
    with watch.step("deconvolution"):
        hidden = masked[order]
        deconvolved = deconvolve(straighten(np.where(hidden, np.float32(0), samples[order])), plane, gain_mv_per_fc, response)
    with watch.step("search"):
        tight, loose, noise, values = _search(deconvolved, plane, hidden)
    with watch.step("regions"):
        rules = refinement.Rules.of(plane)
        if loose is None:
            regions = refinement.of_collection(values, noise, tight, rules)
        else:
            regions = refinement.of_induction(values, noise, tight, loose, rules)
    del values
    with watch.step("charge"):
        gauss, clipped_e = _charge(deconvolved, regions, plane, "Gaus_wide", masked)
        wiener, _ = _charge(deconvolved, regions, plane, "Wiener_wide", masked)
        return Charge(gauss, wiener, noise[np.argsort(order)], clipped_e)


def _search(deconvolved: Deconvolved, plane: PlaneGeometry, hidden: NDArray[np.bool_]) -> tuple[Regions, Regions | None, Samples, Samples]:
    """Tight and (induction) loose regions, the noise of each wire, and the waveforms after Wiener_tight."""
    wiener = filters.high_cut(plane.tight_filter, plane.name, deconvolved.padded)
    shape = (len(deconvolved.spectra), deconvolved.n_ticks)
    signal = np.empty(shape, np.bool_)
    noise = np.empty(shape[0], np.float32)
    values = np.empty(shape, np.float32)
    loose_waveforms = np.empty(shape if plane.induction else (0, 0), np.float32)
    loose_noise = np.empty(shape[0], np.float32)

    def waveforms(rows: slice, *low_cut: str) -> Samples:
        factors = wiener
        for name in low_cut:
            factors = factors * filters.low_cut(name, deconvolved.padded)
        result = deconvolved.filtered(rows=rows, factors=factors)
        centre(result)
        result[hidden[rows]] = 0
        return result

    for begin in range(0, shape[0], BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        values[rows] = waveforms(rows)
        if not plane.induction:
            noise[rows] = noise_rms(values[rows], hidden[rows])
            signal[rows] = tight_search.above(values[rows], noise[rows], tight_search.COLLECTION_RMS)
            continue
        found = waveforms(rows, "ROI_tight_lf")
        noise[rows] = noise_rms(found, hidden[rows])
        signal[rows] = tight_search.above(found, noise[rows], tight_search.INDUCTION_RMS)
        signal[rows] |= tight_search.above(waveforms(rows, "ROI_tighter_lf"), noise[rows], tight_search.INDUCTION_RMS)
        loose_waveforms[rows] = waveforms(rows, "ROI_loose_lf")
        loose_noise[rows] = noise_rms(loose_waveforms[rows], hidden[rows])
    tight = tight_search.tight_regions(signal)
    loose = loose_search.loose_regions(loose_waveforms, loose_noise, tight) if plane.induction else None
    return tight, loose, noise, values


def _charge(
    deconvolved: Deconvolved, regions: Regions, plane: PlaneGeometry, name: str, masked: NDArray[np.bool_]
) -> tuple[Samples, float]:
    """The charge in the regions after the filter `name`, [channels, ticks], whole electrons; and the charge below 0 that is left out.

    On induction planes the line between a region's ends is its baseline; on collection planes the waveform's baseline is 0.
    """
    factors = filters.high_cut(name, plane.role, deconvolved.padded)
    result = np.zeros(masked.shape, np.float32)
    clipped_e = 0.0
    edges = np.searchsorted(regions.wire, np.arange(0, len(result) + BLOCK_ROWS, BLOCK_ROWS))
    for begin, low, high in zip(range(0, len(result), BLOCK_ROWS), edges[:-1], edges[1:], strict=False):
        if low == high:
            continue
        own = slice(low, high)
        part = Regions(regions.wire[own] - begin, regions.first[own], regions.last[own])
        waveforms = deconvolved.filtered(factors, slice(begin, begin + BLOCK_ROWS))
        if plane.induction:
            number, tick, value = content(waveforms, part)
        else:
            centre(waveforms)
            number, tick = part.ticks()
            value = waveforms[part.wire[number], tick]
        value = np.trunc(value)
        clipped_e -= float(value[value < 0].sum(dtype=np.float64))
        result[plane.pitch_order[begin + part.wire[number]], tick] = np.maximum(value, 0)
    result[masked] = 0
    return result, clipped_e
