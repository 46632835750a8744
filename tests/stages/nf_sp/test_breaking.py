"""Regions in which several signals follow each other are broken."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.nf_sp.breaking import broken
from stages.nf_sp.regions import Regions, content

NOISE = np.array([200.0], np.float32)
LIMIT = 3 * NOISE


def peaks(*at: tuple[int, float], n_ticks: int = 400, width: float = 10) -> np.ndarray:
    tick = np.arange(n_ticks)
    waveform = sum(height * np.exp(-0.5 * ((tick - centre) / width) ** 2) for centre, height in at)
    return np.asarray(waveform, np.float32)[None]


def pieces(values: np.ndarray, first: int = 0, last: int = 399) -> list[tuple[int, int]]:
    found = broken(values, Regions(np.array([0]), np.array([first]), np.array([last])), NOISE, LIMIT)
    return list(zip(found.first.tolist(), found.last.tolist(), strict=True))


def strong(values: np.ndarray) -> list[tuple[int, int]]:
    """Pieces that rise above the limit."""
    found = broken(values, Regions(np.array([0]), np.array([0]), np.array([399])), NOISE, LIMIT)
    number, _, above = content(values, found)
    return [(int(found.first[i]), int(found.last[i])) for i in range(len(found)) if above[number == i].max() > LIMIT[0]]


def test_two_peaks_with_a_deep_valley_are_two_regions() -> None:
    found = strong(peaks((150, 5000), (250, 4000)))
    assert len(found) == 2
    assert found[0][1] <= 210
    assert found[1][0] >= 190


def test_two_peaks_that_run_into_each_other_stay_one() -> None:
    (one,) = strong(peaks((190, 5000), (212, 4900)))
    assert one[0] < 180
    assert one[1] > 220


def test_slow_noise_below_a_signal_is_taken_off_as_a_line() -> None:
    values = peaks((200, 4000)) + np.linspace(0, 500, 400, dtype=np.float32)
    (one,) = strong(values)
    _, tick, above = content(values, Regions(np.array([0]), np.array([one[0]]), np.array([one[1]])))
    assert abs(above[tick == 200][0] - 4000) < 200


def test_what_is_quiet_at_the_ends_is_dropped() -> None:
    found = pieces(peaks((200, 4000), width=4))
    assert found[0][0] == 0
    middle = [piece for piece in found if piece[0] < 200 < piece[1]]
    assert len(middle) == 1
    assert middle[0][1] - middle[0][0] < 400


@given(arrays.arrays(np.float32, (2, 40), elements=st.floats(-5000, 5000, width=32)))
def test_pieces_lie_within_their_region_and_share_only_cuts(values: np.ndarray) -> None:
    regions = Regions(np.array([0, 0, 1]), np.array([0, 20, 3]), np.array([15, 39, 30]))
    noise = np.full(2, 200, np.float32)
    found = broken(values, regions, noise, 3 * noise)
    assert (found.first < found.last).all()
    same = found.wire[1:] == found.wire[:-1]
    assert (found.first[1:][same] >= found.last[:-1][same]).all()
    for wire, first, last in zip(found.wire, found.first, found.last, strict=True):
        inside = (regions.wire == wire) & (regions.first <= first) & (last <= regions.last)
        assert inside.sum() == 1
