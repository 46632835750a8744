"""The filters of noise filter and signal processing."""

from __future__ import annotations

import numpy as np
import pytest

from stages.nf_sp import filters


@pytest.mark.parametrize("name", ["Wiener_tight", "Wiener_tight_APA1", "Wiener_wide", "Gaus_wide"])
@pytest.mark.parametrize("role", ["U", "V", "W"])
def test_a_high_cut_has_no_mean_and_falls(name: str, role: str) -> None:
    factors = filters.high_cut(name, role, 6250)
    assert factors[0] == 0
    assert factors[1] == pytest.approx(1, abs=1e-4)
    assert (np.diff(factors[1:]) <= 0).all()


def test_gaus_wide_is_a_gaussian_of_1_33_us() -> None:
    factors = filters.high_cut("Gaus_wide", "W", 10_000)
    pulse = np.fft.fftshift(np.fft.irfft(factors, 10_000))
    pulse -= pulse.min()
    time_us = (np.arange(10_000) - 5000) * 0.5
    assert np.sqrt((pulse * time_us**2)[4900:5100].sum() / pulse[4900:5100].sum()) == pytest.approx(1.33, abs=0.02)


def test_low_cuts_are_ordered_and_end_at_1() -> None:
    loose, tight, tighter = (filters.low_cut(f"ROI_{kind}_lf", 6250) for kind in ("loose", "tight", "tighter"))
    assert loose[0] == tight[0] == tighter[0] == 0
    assert (loose >= tight).all()
    assert (tight >= tighter).all()
    assert tighter[-1] == pytest.approx(1)


def test_across_the_wires_only_induction_planes_are_filtered() -> None:
    assert filters.wire("W", 980).min() > 0.98
    assert filters.wire("U", 820)[410] == pytest.approx(np.exp(-0.5 / 0.42314218766**2), rel=1e-4)
    assert filters.wire("U", 820)[0] == 1
