"""Pedestals and noise of channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.nf_sp import pedestal


@given(adc=arrays.arrays(np.uint16, (3, 41), elements=st.integers(0, 16383)), hidden=arrays.arrays(np.bool_, (3, 41)))
def test_the_pedestal_is_the_median_of_the_samples_that_are_there(adc: np.ndarray, hidden: np.ndarray) -> None:
    found, samples = pedestal.measure(adc, hidden)
    for row in range(3):
        there = adc[row][~hidden[row]].astype(float)
        if there.size == 0:
            assert np.isnan(found.median[row])
            assert np.isnan(found.sigma[row])
        else:
            assert found.median[row] == np.median(there)
            assert found.std[row] == pytest.approx(there.std(), rel=1e-4, abs=0.5)
            assert np.array_equal(samples[row][~hidden[row]], there - np.median(there))
            assert found.saturated[row] == pytest.approx(np.isin(there, (0, 16383)).mean())
        assert found.missing[row] == pytest.approx(hidden[row].mean())
    assert not samples[hidden].any()


def test_tracks_hardly_change_the_noise_but_do_the_standard_deviation() -> None:
    random = np.random.default_rng(0)
    quiet = np.rint(9400 + 14 * random.standard_normal((20, 5000))).astype(np.uint16)
    busy = quiet.copy()
    busy[:, 1000:1100] += 400
    before, _ = pedestal.measure(quiet, None)
    after, _ = pedestal.measure(busy, None)
    assert before.sigma == pytest.approx(14, rel=0.06)
    assert np.median(before.sigma) == pytest.approx(14, rel=0.01)
    assert after.sigma == pytest.approx(before.sigma, rel=0.05)
    assert (after.std > 3 * before.std).all()


@pytest.mark.parametrize("sigma", [5.2, 5.5, 5.8])
def test_the_noise_is_not_bound_to_whole_counts(sigma: float) -> None:
    adc = np.rint(9400.3 + sigma * np.random.default_rng(0).standard_normal((4, 50000))).astype(np.uint16)
    found, _ = pedestal.measure(adc, None)
    assert found.sigma == pytest.approx(sigma, rel=0.015)
