"""Common noise of a front-end board goes, tracks stay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.nf_sp import coherent

N_CHANNELS, N_TICKS = 40, 4000


def noise(random: np.random.Generator, rms: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (rms * random.standard_normal(shape)).astype(np.float32)


def fluctuation(rms: float, n_channels: int) -> float:
    """How much the median of the channels' own noise fluctuates: what no method can tell from common noise."""
    return float(np.sqrt(np.pi / 2) * rms / np.sqrt(n_channels))


def remove(samples: NDArray[np.float32], **changes: object) -> coherent.CommonNoise:
    arguments: dict[str, object] = {
        "sigma": np.full(len(samples), 14.0, np.float32),
        "good": np.ones(len(samples), bool),
        "missing": None,
        "groups": [np.arange(len(samples))],
        "gain_mv_per_fc": 14.0,
    }
    return coherent.remove(samples, **(arguments | changes))[0]  # type: ignore[arg-type]


def test_injected_coherent_noise_is_removed() -> None:
    random = np.random.default_rng(1)
    own = noise(random, 13, (N_CHANNELS, N_TICKS))
    common = noise(random, 5, (1, N_TICKS))
    samples = own + common
    measured = remove(samples)
    assert np.std(samples - own) < 1.05 * fluctuation(13, N_CHANNELS)
    assert measured.rms_before == pytest.approx(5.4, abs=0.5)
    assert measured.rms_after < 0.2 * measured.rms_before
    assert measured.correlation_before == pytest.approx(25 / (25 + 169), abs=0.02)
    assert abs(measured.correlation_after) < 0.03


def test_channels_lose_the_common_noise_in_proportion_to_their_share() -> None:
    random = np.random.default_rng(2)
    share = np.linspace(0.6, 1.4, N_CHANNELS)[:, None]
    own = noise(random, 13, (N_CHANNELS, N_TICKS))
    common = noise(random, 8, (1, N_TICKS))
    samples = (own + share * common).astype(np.float32)
    remove(samples)
    left = (samples - own) @ common[0] / (common[0] @ common[0])
    # What is left of the common noise is the median's own fluctuation, not the spread of the shares (0.4).
    assert np.abs(left).max() < 0.15


@pytest.mark.parametrize("slope", [0.0, 2.0, 20.0])
def test_a_track_keeps_its_charge(slope: float) -> None:
    random = np.random.default_rng(3)
    tick = np.arange(N_TICKS)
    centre = 2000 + slope * np.arange(N_CHANNELS)[:, None]
    track = (300 * np.exp(-0.5 * ((tick - centre) / 3) ** 2)).astype(np.float32)
    samples = track + noise(random, 13, track.shape) + noise(random, 5, (1, N_TICKS))
    remove(samples)
    near = track > 30
    assert samples[near].sum() == pytest.approx(track[near].sum(), rel=0.01)


def test_dead_and_missing_channels_take_no_part_and_are_not_changed() -> None:
    random = np.random.default_rng(4)
    own = noise(random, 13, (N_CHANNELS, N_TICKS))
    common = noise(random, 5, (1, N_TICKS))
    samples = own + common
    good, missing = np.ones(N_CHANNELS, bool), np.zeros(own.shape, bool)
    good[:10] = False
    missing[10:20, :1000] = True
    samples[:10], samples[missing] = 500.0, 0.0
    remove(samples, good=good, missing=missing)
    assert (samples[:10] == 500.0).all()
    assert not samples[missing].any()
    assert np.std((samples - own)[20:]) < 1.05 * fluctuation(13, 20)


def test_a_group_with_too_few_living_channels_is_left_alone() -> None:
    samples = noise(np.random.default_rng(5), 13, (N_CHANNELS, 500))
    before = samples.copy()
    measured = remove(samples, good=np.arange(N_CHANNELS) < coherent.MIN_CHANNELS - 1)
    assert np.array_equal(samples, before)
    assert np.isnan(measured.rms_before)


def test_silence_stays_silence() -> None:
    samples = np.zeros((N_CHANNELS, 500), np.float32)
    measured = remove(samples, sigma=np.zeros(N_CHANNELS, np.float32))
    assert not samples.any()
    assert measured.rms_after == 0
