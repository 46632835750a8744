"""Baseline and health of single channels."""

from __future__ import annotations

import numpy as np
import pytest

from stages.nf_sp import channel_noise


def white(rms: list[float], n_ticks: int = 6000) -> np.ndarray:
    random = np.random.default_rng(0)
    return (np.array(rms)[:, None] * random.standard_normal((len(rms), n_ticks))).astype(np.float32)


def test_the_baseline_is_0_whatever_the_pedestal_and_the_signals() -> None:
    rows = white([14.0] * 3)
    rows += np.array([9400, -20, 3], np.float32)[:, None]
    rows[2, 1000:1200] += 3000
    noise = channel_noise.centre_and_measure(rows, None)
    assert np.median(rows, axis=1) == pytest.approx(0, abs=1.2)
    assert noise == pytest.approx(14, rel=0.05)


@pytest.mark.parametrize(("gain", "scale"), [(14.0, 1.0), (7.8, 7.8 / 14)])
def test_quiet_and_noisy_channels_are_told_at_both_gains(gain: float, scale: float) -> None:
    rows = white([rms * scale for rms in (0.0, 9, 11, 14, 49, 52)], 20_000)
    noise = channel_noise.centre_and_measure(rows, None)
    health = channel_noise.health_of(noise, np.array([False, False, False, True, False, False]), gain)
    assert health.dead.tolist() == [True, True, False, False, False, False]
    assert health.noisy.tolist() == [False, False, False, False, False, True]
    assert health.absent.tolist() == [False, False, False, True, False, False]
    assert health.good.tolist() == [False, False, True, False, True, False]


def test_missing_samples_do_not_count_and_are_0() -> None:
    rows = white([14.0, 14.0]) + 100
    missing = np.zeros(rows.shape, bool)
    missing[0, :4000] = missing[1] = True
    rows[missing] = 0
    noise = channel_noise.centre_and_measure(rows, missing)
    assert noise[0] == pytest.approx(14, rel=0.06)
    assert noise[1] == 0
    assert not rows[missing].any()
    assert np.median(rows[0, 4000:]) == pytest.approx(0, abs=1.2)


def test_a_signal_of_many_ticks_does_not_make_a_channel_noisy() -> None:
    rows = white([14.0])
    rows[0, 2000:2400] += 1500
    assert channel_noise.centre_and_measure(rows, None)[0] == pytest.approx(14, rel=0.05)
