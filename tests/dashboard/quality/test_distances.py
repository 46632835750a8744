"""Distances to a reference: right where they can be computed by hand, the same for the same, and NaN where nothing can be told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dashboard.quality.distances import (
    MIN_HITS,
    SPECTRUM_PRECISION,
    at_frequencies,
    changed_fraction,
    floats,
    kolmogorov_distance,
    spectrum_chi2,
)

positive = st.floats(0.1, 1e4)
spectra = st.lists(positive, min_size=2, max_size=60).map(np.array)
counts = st.lists(st.integers(0, 500), min_size=2, max_size=40).map(lambda values: np.array(values, float))


@given(spectra)
def test_a_spectrum_is_at_no_distance_from_itself(spectrum: np.ndarray) -> None:
    assert spectrum_chi2(spectrum, spectrum, np.zeros_like(spectrum)) == 0


@given(spectra, st.floats(0.5, 2))
def test_a_spectrum_scaled_by_a_factor_is_as_far_as_that_is_in_precisions(spectrum: np.ndarray, factor: float) -> None:
    expected = ((factor - 1) / SPECTRUM_PRECISION) ** 2
    assert spectrum_chi2(factor * spectrum, spectrum, np.zeros_like(spectrum)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_files_that_scatter_as_those_of_the_reference_have_a_chi2_of_one() -> None:
    rng = np.random.default_rng(1)
    reference, spread = np.full(128, 10.0), np.full(128, 0.5)
    variance = spread**2 + (SPECTRUM_PRECISION * reference) ** 2
    found = [spectrum_chi2(reference + rng.normal(0, np.sqrt(variance)), reference, spread) for _ in range(300)]
    assert np.mean(found) == pytest.approx(1, abs=0.03)


@given(spectra, st.data())
def test_unknown_frequencies_are_left_out(spectrum: np.ndarray, data: st.DataObject) -> None:
    known = np.array(data.draw(st.lists(st.booleans(), min_size=len(spectrum), max_size=len(spectrum))))
    shifted = np.where(known, spectrum * 1.1, np.nan)
    found = spectrum_chi2(shifted, spectrum, np.full(len(spectrum), np.nan))
    if known.any():
        assert found == pytest.approx(25, rel=1e-6)
    else:
        assert math.isnan(found)


def test_spectra_of_windows_of_different_length_are_compared_at_the_same_frequencies() -> None:
    wanted, frequency = np.linspace(0.01, 0.9, 50), np.linspace(0.005, 0.95, 128)
    found = at_frequencies(wanted, frequency, 3 * frequency)
    assert found == pytest.approx(3 * wanted)
    assert np.isnan(at_frequencies(np.array([0.001, 0.99]), frequency, frequency)).all()
    assert np.isnan(at_frequencies(wanted, np.array([]), np.array([]))).all()


@given(counts, counts)
def test_the_kolmogorov_distance_is_symmetric_and_between_0_and_1(mine: np.ndarray, other: np.ndarray) -> None:
    size = min(len(mine), len(other))
    mine, other = mine[:size], other[:size]
    found, back = kolmogorov_distance(mine, other), kolmogorov_distance(other, mine)
    if mine.sum() < MIN_HITS or other.sum() < MIN_HITS:
        assert math.isnan(found)
        assert math.isnan(back)
    else:
        assert found == pytest.approx(back)
        assert 0 <= found <= 1 + 1e-12
        assert kolmogorov_distance(mine, 3 * mine) == pytest.approx(0, abs=1e-12)


def test_the_kolmogorov_distance_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    mine, other = rng.integers(0, 20, 700), rng.integers(3, 20, 900)
    bins = np.arange(21)
    found = kolmogorov_distance(np.histogram(mine, bins)[0].astype(float), np.histogram(other, bins)[0].astype(float))
    assert found == pytest.approx(stats.ks_2samp(mine, other).statistic)


def test_histograms_of_different_bins_are_not_compared() -> None:
    assert math.isnan(kolmogorov_distance(np.full(10, 100.0), np.full(11, 100.0)))


@given(st.lists(positive, min_size=20, max_size=60), st.integers(0, 10))
def test_changed_channels_are_counted_where_both_know_them(rms: list[float], changed: int) -> None:
    reference = np.array(rms)
    mine = reference.copy()
    mine[:changed] *= 1.5
    assert changed_fraction(mine, 100, reference, 100) == pytest.approx(changed / len(rms))
    mine[-1] = np.nan
    assert changed_fraction(mine, 100, reference, 100) == pytest.approx(changed / (len(rms) - 1))


def test_channels_are_compared_by_their_offline_number() -> None:
    reference = np.linspace(10, 30, 60)
    assert changed_fraction(reference[20:], 1020, reference, 1000) == 0
    assert changed_fraction(reference[20:], 1000, reference, 1000) > 0.5
    assert math.isnan(changed_fraction(reference, 0, reference, 1000))


def test_null_and_what_no_computer_counts_with_are_unknown() -> None:
    assert np.isnan(floats((1.0, None, 2.0))).tolist() == [False, True, False]
    assert np.isnan(floats((1, 10**400))).all()
