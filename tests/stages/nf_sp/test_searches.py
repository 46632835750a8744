"""The search for tight and loose regions of interest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.nf_sp import loose_search, tight_search
from stages.nf_sp.regions import Regions

NONE = Regions(*(np.empty(0, np.intp) for _ in range(3)))


def listed(found: Regions) -> list[tuple[int, int, int]]:
    return list(zip(found.wire.tolist(), found.first.tolist(), found.last.tolist(), strict=True))


def test_tight_regions_are_padded_and_joined() -> None:
    signal = np.zeros((1, 200), bool)
    signal[0, [50, 51, 70, 78, 199]] = True
    assert listed(tight_search.tight_regions(signal)) == [(0, 45, 56), (0, 65, 83), (0, 194, 199)]


def test_a_wire_between_two_that_are_alike_gets_a_region_too() -> None:
    signal = np.zeros((6, 200), bool)
    signal[0, 50:60] = signal[2, 54:64] = True  # alike, nothing between
    signal[3, 150:160] = signal[5, 150:190] = True  # of unlike length
    found = listed(tight_search.tight_regions(signal))
    assert (1, 47, 66) in found
    assert [wire for wire, _, _ in found].count(4) == 0


def test_a_region_that_is_there_is_not_doubled() -> None:
    signal = np.zeros((3, 200), bool)
    signal[:, 50:60] = True
    assert [wire for wire, _, _ in listed(tight_search.tight_regions(signal))] == [0, 1, 2]


def test_a_threshold_is_in_units_of_the_rows_noise() -> None:
    waveforms = np.array([[10, 31, 32], [10, 31, 32]], np.float32)
    assert tight_search.above(waveforms, np.array([10, 20], np.float32), 3).tolist() == [[False, False, True], [False, False, False]]


def long_signal() -> tuple[np.ndarray, np.ndarray]:
    """Quiet noise of 50 e, and 500 e for 300 ticks on wire 1."""
    waveforms = (50 * np.random.default_rng(0).standard_normal((3, 1800))).astype(np.float32)
    waveforms[1, 600:900] += 500
    return waveforms, np.full(3, 100, np.float32)


def test_a_long_signal_is_one_loose_region() -> None:
    waveforms, noise = long_signal()
    ((wire, first, last),) = listed(loose_search.loose_regions(waveforms, noise, NONE))
    assert wire == 1
    assert first == pytest.approx(600, abs=50)
    assert last == pytest.approx(900, abs=50)


def test_a_loose_region_reaches_to_the_end_of_a_tight_one_at_its_ends() -> None:
    waveforms, noise = long_signal()
    ((_, first, last),) = listed(loose_search.loose_regions(waveforms, noise, NONE))
    tight = Regions(np.array([1, 1]), np.array([first - 40, last - 5]), np.array([first + 5, last + 33]))
    assert listed(loose_search.loose_regions(waveforms, noise, tight)) == [(1, first - 40, last + 33)]


def test_two_signals_with_silence_between_stay_two() -> None:
    waveforms, noise = long_signal()
    waveforms[1, 700:800] -= 500
    assert len(loose_search.loose_regions(waveforms, noise, NONE)) == 2


def test_a_prominent_peak_below_the_threshold_is_a_region() -> None:
    waveforms = np.zeros((1, 1800), np.float32)
    # The threshold is 3.5 x 6 x 100 = 2100 in a bin of six ticks; the peak has 1800 above a dip of -600.
    waveforms[0, 840:960] = -100
    waveforms[0, 894:900] = 300
    found = loose_search.loose_regions(waveforms, np.array([100], np.float32), NONE)
    assert len(found) == 1
    assert found.first[0] <= 894 <= found.last[0]


@given(arrays.arrays(np.float32, (3, 60), elements=st.floats(-3000, 3000, width=32)))
def test_loose_regions_are_in_order_and_do_not_overlap(waveforms: np.ndarray) -> None:
    found = loose_search.loose_regions(waveforms, np.full(3, 100, np.float32), NONE)
    assert (found.first < found.last).all()
    assert ((found.first >= 0) & (found.last < 60)).all()
    same = found.wire[1:] == found.wire[:-1]
    assert (found.first[1:][same] > found.last[:-1][same]).all()
    assert (np.diff(found.wire) >= 0).all()
