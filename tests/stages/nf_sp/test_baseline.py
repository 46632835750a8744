"""The slope of waveforms before deconvolution."""

from __future__ import annotations

import numpy as np
import pytest

from stages.nf_sp.baseline import straighten


def noise(n_rows: int) -> np.ndarray:
    return (14 * np.random.default_rng(0).standard_normal((n_rows, 6000))).astype(np.float32)


def test_a_slope_goes_and_signals_at_the_ends_do_not_matter() -> None:
    rows = noise(3) + np.linspace(0, 30, 6000, dtype=np.float32)
    rows[1, 20:120] += 500
    rows[2, 5900:5980] -= 500
    straighten(rows)
    middle = rows[:, 2000:4000].mean(axis=1)
    assert middle == pytest.approx(0, abs=3)
    assert rows[0, :500].mean() == pytest.approx(0, abs=3)
    assert rows[0, -500:].mean() == pytest.approx(0, abs=3)


def test_an_end_full_of_signal_is_looked_at_further_inside() -> None:
    rows = noise(2)
    rows[1, :190] += 800
    straighten(rows)
    assert rows[1, 1000:5000].mean() == pytest.approx(0, abs=3)


def test_silence_stays_silence() -> None:
    assert not straighten(np.zeros((2, 1000), np.float32)).any()
