"""From 512 ns to 500 ns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dune_prompt.errors import DataError
from stages.nf_sp import resampling


@given(n_in=st.integers(2, 12_000), tick_ns=st.sampled_from([512.0, 500.0]))
def test_the_grid_keeps_time(n_in: int, tick_ns: float) -> None:
    on = resampling.grid(n_in, tick_ns)
    assert on.padded_in * tick_ns == on.padded_out * 500
    assert n_in <= on.padded_in < n_in + 125
    assert on.n_out == int(n_in * tick_ns / 500) <= on.padded_out


def test_a_readout_of_5859_ticks_becomes_5999_as_in_wire_cell() -> None:
    on = resampling.grid(5859, 512.0)
    assert (on.padded_in, on.padded_out, on.n_out) == (5875, 6016, 5999)


@pytest.mark.parametrize(("n_in", "tick_ns"), [(0, 512.0), (1, 512.0), (100, 480.0), (100, 2000.0)])
def test_an_unknown_sampling_is_refused(n_in: int, tick_ns: float) -> None:
    with pytest.raises(DataError, match="cannot be brought to ticks of 500 ns"):
        resampling.grid(n_in, tick_ns)


def test_a_pulse_keeps_its_height_and_time() -> None:
    def pulse(time_ns: np.ndarray) -> np.ndarray:
        return np.asarray(300 * np.exp(-0.5 * ((time_ns - 800_000) / 2000) ** 2))

    on = resampling.grid(3000, 512.0)
    rows = np.broadcast_to(pulse(np.arange(3000) * 512.0), (70, 3000)).astype(np.float32)
    resampled = resampling.resample(rows, on)
    assert resampled.shape == (70, 3072)
    assert np.abs(resampled - pulse(np.arange(3072) * 500.0)).max() < 0.05


def test_500_ns_stay_as_they_are() -> None:
    rows = np.zeros((2, 100), np.float32)
    assert resampling.resample(rows, resampling.grid(100, 500.0)) is rows


@given(first=st.integers(0, 999), length=st.integers(1, 400))
def test_every_tick_that_touches_a_missing_sample_is_missing(first: int, length: int) -> None:
    on = resampling.grid(1000, 512.0)
    mask = np.zeros((1, 1000), bool)
    mask[0, first : first + length] = True
    found = resampling.resample_mask(mask, on)[0]
    begin_ns, end_ns = first * 512, min(first + length, 1000) * 512
    tick = np.arange(on.n_out) * 500
    assert np.array_equal(found, (tick + 500 > begin_ns) & (tick < end_ns))
