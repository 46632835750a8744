"""Places the frames of an APA's or CRP's fragments in one common window, each by its own timestamp."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.rawdata.fragment import Fragment, off_grid
from stages.rawdata.frames import FRAME_SAMPLES, Clock
from stages.rawdata.problems import Problems


class Run(NamedTuple):
    """Consecutive frames [first, last) of a fragment whose samples follow each other from `tick` on."""

    first: int
    last: int
    tick: int

    @property
    def end(self) -> int:
        return self.tick + (self.last - self.first) * FRAME_SAMPLES


@dataclass(frozen=True, slots=True)
class Placement:
    """The common window: `n_ticks` samples from `first_timestamp` (DTS ticks) on; for each fragment what of it goes where, in order of
    tick, and the ticks [begin, end) it does not cover."""

    first_timestamp: int
    n_ticks: int
    runs: tuple[tuple[Run, ...], ...]
    gaps: tuple[tuple[tuple[int, int], ...], ...]


def place(fragments: Sequence[Fragment], clock: Clock, problems: Problems) -> Placement | None:
    """Find the window that the good frames of `fragments` span, and where each frame is in it. None when no frame is good.

    The window spans all good frames that are in the readout window the headers tell, or in the span of most fragments, give or take
    one frame. A fragment off the common sampling grid is left out where timestamps are exact (WIBEth), and put to the nearest sample
    where they are rounded (TDEEth).
    """
    firsts = [int(fragment.timestamps[fragment.good][0]) for fragment in fragments if fragment.good.any()]
    if not firsts:
        return None
    phases = Counter(4 * first % clock.quarters for first in firsts)
    reference = max(firsts, key=lambda first: phases[4 * first % clock.quarters])
    good = [_on_grid(fragment, clock, reference, problems) for fragment in fragments]
    begin, end = _window(fragments, good, clock)
    inside = []
    for fragment, mask in zip(fragments, good, strict=True):
        within = mask & (fragment.timestamps > begin - 2 * clock.frame_ticks) & (fragment.timestamps < end + clock.frame_ticks)
        if left_out := int(mask.sum() - within.sum()):
            source = fragment.source
            problems.of(source.dataset.name, source.source_id, f"{left_out} of {mask.size} frames are outside the readout window; left out")
        inside.append(within)
    first = min(int(fragment.timestamps[mask].min()) for fragment, mask in zip(fragments, inside, strict=True) if mask.any())
    runs = tuple(_runs(fragment, mask, first, clock) for fragment, mask in zip(fragments, inside, strict=True))
    n_ticks = max(run.end for group in runs for run in group)
    gaps = tuple(_gaps(group, n_ticks) for group in runs)
    for fragment, group in zip(fragments, gaps, strict=True):
        if group and group != ((0, n_ticks),):
            ticks = ", ".join(f"{gap_begin}-{gap_end - 1}" for gap_begin, gap_end in group)
            problems.of(fragment.source.dataset.name, fragment.source.source_id, f"ticks {ticks} of {n_ticks} are missing")
    return Placement(first, n_ticks, runs, gaps)


def _on_grid(fragment: Fragment, clock: Clock, reference: int, problems: Problems) -> NDArray[np.bool_]:
    """The good frames of a fragment, none when its samples miss those of the others and that is more than rounding."""
    good = fragment.good
    if not good.any():
        return good
    first = fragment.timestamps[good][:1]
    ticks_off = int(off_grid(first - reference, clock)[0]) / 4
    if abs(ticks_off) < 1:
        return good
    source = fragment.source
    if clock.whole_ticks:
        problems.of(source.dataset.name, source.source_id, f"{ticks_off:+g} DTS ticks off the sampling grid of the others; masked")
        return np.zeros_like(good)
    problems.of(
        source.dataset.name, source.source_id, f"{ticks_off:+g} DTS ticks off the sampling grid of the others; at the nearest sample"
    )
    return good


def _window(fragments: Sequence[Fragment], good: Sequence[NDArray[np.bool_]], clock: Clock) -> tuple[int, int]:
    """Begin and end, in DTS ticks, of what belongs to the record: the span of the typical fragment, and the window that was asked for,
    unless that makes no sense beside it."""
    spans = [fragment.timestamps[mask] for fragment, mask in zip(fragments, good, strict=True) if mask.any()]
    begin = _median(int(span.min()) for span in spans)
    end = _median(int(span.max()) + clock.frame_ticks for span in spans)
    asked = [fragment for fragment in fragments if fragment.window_begin < fragment.window_end]
    if asked:
        asked_begin = _median(fragment.window_begin for fragment in asked)
        asked_end = _median(fragment.window_end for fragment in asked)
        longest = max(fragment.good.size for fragment in fragments) * clock.frame_ticks
        if asked_begin < end and begin < asked_end and asked_end - asked_begin <= 4 * longest:
            begin, end = min(begin, asked_begin), max(end, asked_end)
    return begin, end


def _median(values: Iterable[int]) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _runs(fragment: Fragment, inside: NDArray[np.bool_], first: int, clock: Clock) -> tuple[Run, ...]:
    frames = np.flatnonzero(inside)
    if not frames.size:
        return ()
    late = fragment.timestamps[frames] - first
    ticks = (8 * late + clock.quarters) // (2 * clock.quarters)
    breaks = np.flatnonzero((np.diff(frames) != 1) | (np.diff(ticks) != FRAME_SAMPLES)) + 1
    starts, stops = [0, *breaks.tolist()], [*breaks.tolist(), frames.size]
    runs = (Run(int(frames[a]), int(frames[b - 1]) + 1, int(ticks[a])) for a, b in zip(starts, stops, strict=True))
    return tuple(sorted(runs, key=lambda run: run.tick))


def _gaps(runs: Sequence[Run], n_ticks: int) -> tuple[tuple[int, int], ...]:
    ends = [0, *(run.end for run in runs)]
    starts = [*(run.tick for run in runs), n_ticks]
    return tuple((end, start) for end, start in zip(ends, starts, strict=True) if end < start)
