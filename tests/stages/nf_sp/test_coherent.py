"""Common noise of a front-end board goes, tracks stay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.nf_sp import coherent, response
from stages.nf_sp.geometry import ElementGeometry, geometry_of

N_CHANNELS, N_TICKS = 48, 4000


def noise(random: np.random.Generator, rms: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (rms * random.standard_normal(shape)).astype(np.float32)


def fluctuation(rms: float, n_channels: int) -> float:
    """How much the median of the channels' own noise fluctuates: what no method can tell from common noise."""
    return float(np.sqrt(np.pi / 2) * rms / np.sqrt(n_channels))


def element(first: int) -> ElementGeometry:
    """The 40 channels of one group: from channel 2631 on of U, from 3511 on of V, from 4400 on (48) of W."""
    return geometry_of("pdhd", "P02NL", np.arange(first, first + (48 if first >= 4160 else 40), dtype=np.int32))


U, V, W = element(2631), element(3511), element(4400)


def remove(samples: NDArray[np.float32], geometry: ElementGeometry = W, sigma: float = 14.0) -> coherent.CommonNoise:
    return coherent.remove(samples, np.where(samples.any(axis=1), np.float32(sigma), np.float32(0)), geometry, 14.0)[0]


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
def test_a_track_keeps_its_charge_on_a_collection_plane(slope: float) -> None:
    random = np.random.default_rng(3)
    tick = np.arange(N_TICKS)
    centre = 2000 + slope * np.arange(N_CHANNELS)[:, None]
    track = (300 * np.exp(-0.5 * ((tick - centre) / 3) ** 2)).astype(np.float32)
    samples = track + noise(random, 13, track.shape) + noise(random, 5, (1, N_TICKS))
    remove(samples)
    near = track > 30
    assert samples[near].sum() == pytest.approx(track[near].sum(), rel=0.015)


@pytest.mark.parametrize("geometry", [U, V], ids=["U", "V"])
def test_a_track_that_crosses_all_channels_at_once_stays_on_an_induction_plane(geometry: ElementGeometry) -> None:
    random = np.random.default_rng(3)
    wires = response.response(geometry.planes[0].role, 14.0)
    pulse = np.zeros(N_TICKS, np.float32)
    pulse[2000 : 2000 + wires.shape[1]] = 20_000 * wires.sum(axis=0)
    samples = np.broadcast_to(pulse, (40, N_TICKS)) + noise(random, 13, (40, N_TICKS)) + noise(random, 5, (1, N_TICKS))
    remove(samples, geometry)
    near = np.abs(pulse) > 30
    assert np.abs(pulse).max() > 100
    kept = (samples.mean(axis=0)[near] @ pulse[near]) / (pulse[near] @ pulse[near])
    assert kept == pytest.approx(1, abs=0.06)


def test_a_track_on_a_few_channels_stays_there_and_the_others_still_lose_their_common_noise() -> None:
    random = np.random.default_rng(3)
    wires = response.response("U", 14.0)
    own = noise(random, 13, (40, N_TICKS))
    own[:8, 2000 : 2000 + wires.shape[1]] += 8000 * wires.sum(axis=0)
    common = noise(random, 5, (1, N_TICKS))
    samples = own + common
    remove(samples, U)
    assert np.std((samples - own)[8:]) < 1.2 * fluctuation(13, 40)
    assert samples[:8].min() == pytest.approx(own[:8].min(), rel=0.1)


def test_dropped_channels_take_no_part_and_are_not_changed() -> None:
    random = np.random.default_rng(4)
    own = noise(random, 13, (N_CHANNELS, N_TICKS))
    samples = own + noise(random, 5, (1, N_TICKS))
    samples[:10] = 0
    remove(samples)
    assert not samples[:10].any()
    assert np.std((samples - own)[10:]) < 1.1 * fluctuation(13, N_CHANNELS - 10)


def test_a_group_of_dropped_channels_is_left_alone_and_tells_nothing() -> None:
    samples = np.zeros((N_CHANNELS, 500), np.float32)
    measured = remove(samples)
    assert not samples.any()
    assert np.isnan(measured.rms_before)


@pytest.mark.parametrize("gain", [14.0, 7.8])
def test_what_counts_as_signal_follows_the_gain(gain: float) -> None:
    scale = gain / 14
    random = np.random.default_rng(5)
    common = np.zeros((1, N_TICKS), np.float32)
    common[0, 1000:1100] = 28 * scale  # below the limit of 30 ADC at 14 mV/fC: noise
    common[0, 2000:2100] = 45 * scale  # above it: a track
    samples = common + noise(random, 5 * scale, (N_CHANNELS, N_TICKS))
    coherent.remove(samples, np.full(N_CHANNELS, 5 * scale, np.float32), W, gain)
    assert samples[:, 1000:1100].mean() == pytest.approx(0, abs=2 * scale)
    assert samples[:, 2000:2100].mean() == pytest.approx(45 * scale, abs=2 * scale)


def test_the_v_plane_of_p02su_is_cleaned_as_a_collection_plane() -> None:
    broken = geometry_of("pdhd", "P02SU", np.arange(800, 840, dtype=np.int32)).planes[0]
    assert (broken.name, broken.has_noise_kernel) == ("V", False)
    assert geometry_of("pdhd", "P02NL", np.arange(3360, 3400, dtype=np.int32)).planes[0].has_noise_kernel
