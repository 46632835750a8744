"""The gain of signal processing, found without truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.nf_sp import gain, resampling, response, signal_processing
from stages.nf_sp.geometry import geometry_of

GAIN_MV_PER_FC = 14.0


def pulses(n_electrons: float, n_channels: int = 160, tick_ns: float = 512.0, begin_ns: float = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """A pulse of so many electrons in every channel: triangular waveforms of the nominal area, and their charge."""
    samples, electrons = np.zeros((n_channels, 2000), np.float32), np.zeros((n_channels, 2048), np.float32)
    area_adc_us = n_electrons * GAIN_MV_PER_FC * gain.ADC_PER_MV * gain.FC_PER_E * gain.PULSE_US
    shape = np.bartlett(9)
    for channel in range(n_channels):
        time_ns = begin_ns + 3_000.0 * channel
        first = round(time_ns / tick_ns) - 4
        samples[channel, first : first + 9] = shape / shape.sum() * area_adc_us / (tick_ns * 1e-3)
        first = round(time_ns / resampling.TICK_NS) - 4
        electrons[channel, first : first + 9] = shape / shape.sum() * n_electrons
    return samples, electrons


def test_the_gain_is_1_when_all_charge_is_found_and_follows_what_is_lost_or_made_up() -> None:
    samples, electrons = pulses(30_000)
    assert gain.sp_gain(samples, electrons, 512.0, GAIN_MV_PER_FC) == pytest.approx(1, abs=1e-3)
    assert gain.sp_gain(samples, electrons * np.float32(0.8), 512.0, GAIN_MV_PER_FC) == pytest.approx(0.8, abs=1e-3)
    assert gain.sp_gain(samples, electrons * np.float32(1.1), 512.0, GAIN_MV_PER_FC) == pytest.approx(1.1, abs=1e-3)


def test_a_gain_of_the_electronics_that_is_set_wrongly_does_not_show() -> None:
    samples, electrons = pulses(30_000)
    assert gain.sp_gain(samples, electrons * np.float32(14 / 7.8), 512.0, 7.8) == pytest.approx(1, abs=1e-3)


def test_the_sampling_does_not_matter() -> None:
    samples, electrons = pulses(30_000, tick_ns=500.0)
    assert gain.sp_gain(samples, electrons, 500.0, GAIN_MV_PER_FC) == pytest.approx(1, abs=1e-3)


def test_a_few_channels_that_are_different_hardly_count() -> None:
    samples, electrons = pulses(30_000)
    samples[::20] = 0
    assert gain.sp_gain(samples, electrons, 512.0, GAIN_MV_PER_FC) == pytest.approx(1, abs=1e-3)


def test_too_few_or_too_faint_pulses_tell_nothing() -> None:
    samples, electrons = pulses(30_000, n_channels=gain.CHANNEL_STEP * (gain.MIN_PULSES - 1))
    assert np.isnan(gain.sp_gain(samples, electrons, 512.0, GAIN_MV_PER_FC))
    samples, electrons = pulses(0.9 * gain.MIN_PULSE_E)
    assert np.isnan(gain.sp_gain(samples, electrons, 512.0, GAIN_MV_PER_FC))
    assert np.isnan(gain.sp_gain(samples, np.zeros_like(electrons), 512.0, GAIN_MV_PER_FC))


def test_waveforms_without_anything_where_charge_was_found_give_no_number() -> None:
    samples, electrons = pulses(30_000)
    assert np.isnan(gain.sp_gain(np.zeros_like(samples), electrons, 512.0, GAIN_MV_PER_FC))


@pytest.mark.parametrize("distance_ns", [-15_000, 15_000])
def test_a_faint_pulse_nearby_is_not_taken_for_a_part_of_another(distance_ns: float) -> None:
    samples, electrons = pulses(30_000, begin_ns=500_000)
    faint_samples, faint_electrons = pulses(9_000, begin_ns=500_000 + distance_ns)
    assert gain.sp_gain(samples + faint_samples, electrons + faint_electrons, 512.0, GAIN_MV_PER_FC) == pytest.approx(1, abs=1e-3)


def test_pulses_at_the_ends_of_the_readout_do_not_count() -> None:
    samples, electrons = pulses(30_000)
    for channel in range(0, len(electrons), gain.CHANNEL_STEP):
        electrons[channel, :9] = electrons[channel, -9:] = 5_000
    assert gain.sp_gain(samples, electrons, 512.0, GAIN_MV_PER_FC) == pytest.approx(1, abs=1e-3)


def test_the_nominal_pulse_is_the_response_of_a_collection_wire() -> None:
    area_adc_us = response.response("W", GAIN_MV_PER_FC).sum() * response.TICK_US
    assert area_adc_us / (GAIN_MV_PER_FC * gain.ADC_PER_MV * gain.FC_PER_E) == pytest.approx(gain.PULSE_US, rel=1e-3)


def test_signal_processing_keeps_its_gain_on_a_simulated_event(two_boards: Any) -> None:
    plane = geometry_of("pdhd", "P02NL", two_boards.channels).planes[2]
    waveforms = two_boards.waveforms()[plane.rows]
    charge = signal_processing.of_plane(waveforms, np.zeros(waveforms.shape, bool), plane, GAIN_MV_PER_FC)
    assert gain.sp_gain(waveforms, charge.gauss, resampling.TICK_NS, GAIN_MV_PER_FC) == pytest.approx(1, abs=0.05)
