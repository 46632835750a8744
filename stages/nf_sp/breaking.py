"""Breaks regions of interest in which several signals follow each other (Wire-Cell's `BreakROI`).

The deconvolved waveform of an induction plane rides on slow noise. So a region is cut in the valleys between its peaks, and the line
between two cuts is the baseline of what lies between; then stretches below 3 rms are cut too, each once, and what lies outside of the
first and last cut is dropped. Twice, as the new baselines make new quiet stretches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.regions import Index, Regions
from stages.nf_sp.statistics import Samples

# A valley parts two peaks that rise above it by more than this and by this many rms.
SEPARATION_E, SEPARATION_RMS = 1200.0, 6.0
# Only regions with two peaks above this many rms are looked at.
PEAK_RMS = 3.0
QUIET_ROUNDS = 2


def broken(values: Samples, regions: Regions, noise: Samples, limit: Samples) -> Regions:
    """The pieces of `regions`, in order; neighbours share the tick they are cut at.

    `values` [wires, ticks] after Wiener_tight; `noise` and `limit` [wires]: its rms, and what is not quiet.
    """
    if not len(regions):
        return regions
    number, tick = regions.ticks()
    wire = regions.wire[number]
    waveform = values[wire, tick]
    begins = regions.begins()
    cut = np.zeros(len(number), np.bool_)
    cut[begins] = cut[begins + regions.length - 1] = True
    cut |= _valleys(_above(waveform, cut), number, noise[wire])
    for _ in range(QUIET_ROUNDS):
        cut = _quiet_cuts(_above(waveform, cut), number, cut, limit[wire])
    at = np.flatnonzero(cut)
    pieces = np.flatnonzero((number[at[1:]] == number[at[:-1]]) & (at[1:] > at[:-1]))
    begin, end = at[pieces], at[pieces + 1]
    return Regions(wire[begin], tick[begin], tick[end])


def _above(waveform: Samples, cut: NDArray[np.bool_]) -> Samples:
    """What lies above the lines between neighbouring cuts. What is outside of a region's first and last cut is not looked at."""
    at = np.flatnonzero(cut)
    line = np.interp(np.arange(len(waveform)), at, waveform[at])
    return (waveform - line).astype(np.float32)


def _valleys(above: Samples, number: Index, noise: Samples) -> NDArray[np.bool_]:
    """The lowest ticks between peaks that are deeply parted, for all regions at once."""
    cut = np.zeros(len(above), np.bool_)
    extreme = _extremes(above, number)
    peak = np.zeros(len(above), np.bool_)
    inner = extreme[1:-1]
    peak[inner] = (above[inner] > above[inner - 1]) | (above[inner] > above[inner + 1])
    high = peak & (above > PEAK_RMS * noise)
    several = np.bincount(number[high], minlength=number[-1] + 1) > 1
    extreme = extreme[several[number[extreme]]]
    separation = np.maximum(SEPARATION_E, SEPARATION_RMS * noise)
    # Small ups and downs vanish in pairs, the smallest first, until each that is left is larger than the separation.
    while len(extreme) > 1:
        step = np.abs(np.diff(above[extreme]))
        step[number[extreme[1:]] != number[extreme[:-1]]] = np.inf
        around = np.concatenate(([np.inf], step, [np.inf]))
        small = (step <= separation[extreme[:-1]]) & (step < around[:-2]) & (step <= around[2:])
        if not small.any():
            break
        keep = np.ones(len(extreme), np.bool_)
        keep[:-1] &= ~small
        keep[1:] &= ~small
        extreme = extreme[keep]
    same = number[extreme[1:-1]] == number[extreme[:-2]]
    same &= number[extreme[1:-1]] == number[extreme[2:]]
    valley = same & (above[extreme[1:-1]] < above[extreme[:-2]]) & (above[extreme[1:-1]] < above[extreme[2:]])
    cut[extreme[1:-1][valley]] = True
    return cut


def _extremes(above: Samples, number: Index) -> Index:
    """Where each region's waveform turns, its inner ticks only."""
    step = np.sign(np.diff(above))
    step[number[1:] != number[:-1]] = 0
    turns = np.zeros(len(above), np.bool_)
    turns[1:-1] = step[1:] * step[:-1] < 0
    return np.flatnonzero(turns)


def _quiet_cuts(above: Samples, number: Index, cut: NDArray[np.bool_], limit: Samples) -> NDArray[np.bool_]:
    """One cut in each quiet stretch: the first that is there already, otherwise the lowest tick."""
    edge = np.flatnonzero(cut)
    first_cut = np.full(number[-1] + 1, len(above))
    last_cut = np.full(number[-1] + 1, -1)
    np.minimum.at(first_cut, number[edge], edge)
    np.maximum.at(last_cut, number[edge], edge)
    place = np.arange(len(above))
    quiet = (above < limit) & (place >= first_cut[number]) & (place <= last_cut[number])
    begins = np.flatnonzero(quiet & np.concatenate(([True], ~quiet[:-1] | (number[1:] != number[:-1]))))
    result = np.zeros(len(above), np.bool_)
    if not len(begins):
        return result
    stretch = np.cumsum(np.bincount(begins, minlength=len(above)))[quiet] - 1
    at, value = place[quiet], np.where(cut[quiet], np.float32(-np.inf), above[quiet])
    starts = np.searchsorted(stretch, np.arange(len(begins)))
    lowest = np.minimum.reduceat(value, starts)
    result[np.minimum.reduceat(np.where(value == lowest[stretch], at, len(above)), starts)] = True
    return result
