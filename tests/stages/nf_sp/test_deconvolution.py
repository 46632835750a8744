"""Deconvolution gives back the charge that made a pulse, on ticks of 500 ns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.nf_sp import deconvolution, response


def waveform(role: str, gain: float, electrons: float, arrival_ns: float, on: deconvolution.Grid) -> NDArray[np.float32]:
    """ADC values of `electrons` that drift in over some 1.5 us around `arrival_ns`, sampled at the grid's input ticks."""
    fine = np.arange(on.padded_out) * deconvolution.TICK_NS
    arrives = np.exp(-0.5 * ((fine - arrival_ns) / 1500.0) ** 2)
    arrives *= electrons / arrives.sum()
    answer = np.roll(np.pad(response.response(role, gain), (0, on.padded_out - 260)), -response.ARRIVAL_TICKS)
    spectrum = np.fft.rfft(arrives) * np.fft.rfft(answer)
    # The same waveform on the coarser ticks: the spectrum is cut at their Nyquist frequency.
    coarse = np.fft.irfft(spectrum[: on.padded_in // 2 + 1], on.padded_in) * on.padded_in / on.padded_out
    return coarse[None, : on.n_in].astype(np.float32)


@pytest.mark.parametrize("gain", [14.0, 7.8])
@pytest.mark.parametrize("tick_ns", [512.0, 500.0])
def test_a_pulse_on_the_collection_plane_gives_back_its_charge_at_its_time(gain: float, tick_ns: float) -> None:
    on = deconvolution.grid(3000, tick_ns)
    pulse = waveform("W", gain, 25_000, 700_000, on)
    kernel = deconvolution.kernels(on, "W", "Wiener_tight", gain)
    charge = deconvolution.apply(deconvolution.transform(pulse, on), kernel.charge, on)[0]
    charge -= np.median(charge)
    assert charge.sum() == pytest.approx(25_000, rel=0.02)
    mean_tick = (charge * np.arange(on.n_out)).sum() / charge.sum()
    assert mean_tick * deconvolution.TICK_NS == pytest.approx(700_000, abs=150)
    assert pulse.max() > 0


@pytest.mark.parametrize("role", ["U", "V"])
def test_a_pulse_on_an_induction_plane_gives_back_its_charge(role: str) -> None:
    on = deconvolution.grid(3000, 512.0)
    pulse = waveform(role, 14.0, 25_000, 700_000, on)
    kernel = deconvolution.kernels(on, role, "Wiener_tight", 14.0)
    charge = deconvolution.apply(deconvolution.transform(pulse, on), kernel.charge, on)[0]
    near = slice(1380, 1421)
    baseline = np.linspace(charge[near][0], charge[near][-1], 41)
    assert (charge[near] - baseline).sum() == pytest.approx(25_000, rel=0.02)
    assert abs(pulse.sum()) < 0.05 * np.abs(pulse).sum()


@given(n_in=st.integers(1, 12_000), tick_ns=st.sampled_from([512.0, 500.0]))
def test_the_grid_keeps_time_and_leaves_room(n_in: int, tick_ns: float) -> None:
    on = deconvolution.grid(n_in, tick_ns)
    assert on.padded_in * tick_ns == on.padded_out * 500
    assert on.padded_in >= n_in + deconvolution.PAD_TICKS
    assert on.n_out == int(n_in * tick_ns / 500)
    assert on.n_out <= on.padded_out


def test_a_readout_of_5859_ticks_becomes_5999_as_in_wire_cell() -> None:
    assert deconvolution.grid(5859, 512.0).n_out == 5999


@pytest.mark.parametrize(("n_in", "tick_ns"), [(0, 512.0), (100, 480.0), (100, 2000.0)])
def test_an_unknown_sampling_is_refused(n_in: int, tick_ns: float) -> None:
    with pytest.raises(DataError, match="cannot be brought to ticks of 500 ns"):
        deconvolution.grid(n_in, tick_ns)


def test_kernels_are_finite_everywhere() -> None:
    on = deconvolution.grid(5824, 512.0)
    for role in "UVW":
        for filters in ("Wiener_tight", "Wiener_tight_APA1"):
            kernel = deconvolution.kernels(on, role, filters, 14.0)
            assert all(np.isfinite(one).all() for one in (kernel.charge, *kernel.search))
