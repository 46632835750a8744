"""Images of waveforms: levels, and ticks that share a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages import images


def test_a_short_pulse_stays_visible() -> None:
    samples = np.zeros((70, 6400), np.float32)
    samples[65, 1234] = -300
    samples[65, 1235] = 40
    shown = images.extremes(samples, 10)
    assert shown.shape == (70, 640)
    assert shown[65, 123] == -300
    assert np.count_nonzero(shown) == 1


@given(
    values=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=150), elements=st.floats(-1e4, 1e4, width=32)),
    n_ticks=st.integers(1, 40),
)
def test_a_pixel_is_one_of_its_ticks_and_none_is_larger(values: np.ndarray, n_ticks: int) -> None:
    shown = images.extremes(values, n_ticks)
    assert shown.dtype == values.dtype
    assert shown.shape == (len(values), -(-values.shape[1] // n_ticks))
    for column in range(shown.shape[1]):
        ticks = values[:, column * n_ticks : (column + 1) * n_ticks]
        assert (np.abs(shown[:, column]) == np.abs(ticks).max(axis=1)).all()
        assert (ticks == shown[:, column, None]).any(axis=1).all()


def test_levels_share_pixels_too() -> None:
    levels = np.array([[0, -7, 3, 1, 0, 0, 2]], np.int8)
    assert images.extremes(levels, 3).tolist() == [[-7, 1, 2]]
    assert images.extremes(levels, 3).dtype == np.int8


def test_the_levels_of_a_waveform_are_even_about_zero_and_end_at_the_range() -> None:
    samples = np.array([[0, 5, -5, 10, -10, 70, -70, 1e6, -1e6]], np.float32)
    assert images.waveforms(samples, 70.0).tolist() == [[0, 0, 0, 1, -1, 7, -7, 7, -7]]


def test_the_least_charge_is_a_level_above_none() -> None:
    electrons = np.array([[0, 1, 1000, 14_000, 1e6]], np.float32)
    assert images.charge(electrons, 14_000.0).tolist() == [[0, 1, 1, 14, 14]]


def test_ranges_follow_the_noise_and_the_charge() -> None:
    assert images.waveform_range(np.full(5, 15.2, np.float32)) == 122
    assert images.waveform_range(np.array([15.2, np.nan, 15.2], np.float32)) == 122
    assert images.charge_range(np.full((3, 3), 9000, np.float32)) == 9000
    charge = np.zeros((1, 1000), np.float32)
    charge[0, :200] = 2000
    charge[0, 0] = 1e6  # one pixel in a hundred may be beyond
    assert images.charge_range(charge) == 2000


@pytest.mark.parametrize("rms", [[], [np.nan, np.nan], [0.0, 0.0]])
def test_a_plane_without_noise_has_a_range_too(rms: list[float]) -> None:
    assert images.waveform_range(np.array(rms, np.float32)) == images.DEFAULT_RANGE_ADC


def test_a_plane_without_charge_has_a_range_too() -> None:
    assert images.charge_range(np.zeros((3, 3), np.float32)) == images.MIN_RANGE_E
    assert images.charge_range(np.full((3, 3), 3, np.float32)) == images.MIN_RANGE_E
