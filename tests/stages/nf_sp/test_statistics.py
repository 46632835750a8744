"""Medians and noise as Wire-Cell defines them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.nf_sp import statistics


def by_histogram(values: np.ndarray, fraction: float) -> float:
    """A quantile the way Wire-Cell finds it: the first bin of a histogram behind which enough values lie."""
    low, high, n = values.min(), values.max(), len(values)
    if low == high:
        return float(low)
    width = (high - low) / n
    number = np.clip(np.rint((values - low) / width), 0, n - 1).astype(int)
    return float(low + width * np.flatnonzero(np.cumsum(np.bincount(number, minlength=n)) > int(n * fraction))[0])


finite = st.floats(-1000, 1000, width=32)


@given(rows=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=finite))
def test_quantiles_are_those_of_a_histogram_with_as_many_bins_as_values(rows: np.ndarray) -> None:
    for fraction, found in zip((0.16, 0.5, 0.84), statistics.quantiles(rows, (0.16, 0.5, 0.84)), strict=True):
        for row, value in zip(rows, found, strict=True):
            # Within a bin: single and double precision may disagree on which side of an edge a value lies.
            assert value == pytest.approx(by_histogram(row.astype(float), fraction), abs=float(np.ptp(row) + 1e-3) / len(row) * 1.001)


def test_quantiles_of_distinct_values_are_exactly_those_of_the_histogram() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 999)).astype(np.float32)
    for row, value in zip(rows, statistics.quantiles(rows, (0.5,))[0], strict=True):
        assert value == pytest.approx(by_histogram(row.astype(float), 0.5), abs=1e-5)


def test_quantiles_of_a_part_leave_the_rest_out() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 500)).astype(np.float32)
    chosen = np.random.default_rng(1).random((3, 500)) < 0.7
    chosen[2] = False
    found = statistics.quantiles_of_chosen(rows, chosen, (0.5,))[0]
    for index in (0, 1):
        assert found[index] == pytest.approx(statistics.quantiles(rows[index, chosen[index]][None], (0.5,))[0][0], abs=1e-6)
    assert found[2] == 0


def test_a_value_between_two_bins_does_not_hang_on_its_last_digits() -> None:
    low, high = np.zeros(3, np.float32), np.full(3, 100, np.float32)
    value = np.array([14.999, 15.001, 12.0], np.float32)
    assert statistics.binned(value, low, high, 10).tolist() == [10.0, 20.0, 10.0]
    assert statistics.binned(value, low, high, 10, undecided=0.1).tolist() == pytest.approx([14.95, 15.05, 10.0], abs=0.01)


def test_noise_is_found_under_signals_that_fill_a_third_of_the_waveform() -> None:
    rows = (200 * np.random.default_rng(0).standard_normal((4, 6000))).astype(np.float32)
    rows[1, 1000:3000] += 5000
    rows[2, 1000:3000] -= 5000
    noise = statistics.noise_rms(rows)
    assert noise[0] == pytest.approx(200, rel=0.03)
    assert noise[1:3] == pytest.approx(200, rel=0.12)
    rows[3, :3000] = 1e6
    masked = np.zeros(rows.shape, bool)
    masked[3, :3000] = True
    assert statistics.noise_rms(rows, masked)[3] == pytest.approx(200, rel=0.05)


def test_a_signal_does_not_move_the_baseline() -> None:
    rows = (50 * np.random.default_rng(0).standard_normal((3, 6000))).astype(np.float32) + 30
    rows[1, 1000:2000] += 3000
    rows[2, 1000:1500] -= 3000
    statistics.centre(rows)
    assert np.median(rows[:, 2000:], axis=1) == pytest.approx(0, abs=2)


def test_clipping_leaves_outliers_out() -> None:
    rows = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    rows[1, 100] = 500
    mean, rms = statistics.clipped_mean_and_rms(rows)
    assert mean == pytest.approx(0, abs=0.05)
    assert rms == pytest.approx(1, rel=0.03)
    assert statistics.clipped_mean_and_rms(np.zeros((1, 10), np.float32))[1][0] == 0
