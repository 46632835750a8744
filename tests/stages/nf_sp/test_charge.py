"""Signal processing of a plane, against the real Wire-Cell and against charge put in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.nf_sp import charge, coherent, deconvolution, pedestal
from stages.nf_sp.geometry import ElementGeometry, geometry_of

GAIN = 14.0
# Ticks of 500 ns at the ends of the cropped window, where Wire-Cell saw more than we do.
END = 100


class Boards(Protocol):
    adc: NDArray[np.uint16]
    channels: NDArray[np.int32]
    gauss: NDArray[np.float32]


def process(adc: NDArray[np.uint16], geometry: ElementGeometry) -> list[NDArray[np.float32]]:
    pedestals, samples = pedestal.measure(adc, None)
    usable = pedestal.classify(pedestals, GAIN).good & ~geometry.listed_bad
    samples[~usable] = 0
    coherent.remove(samples, pedestals.sigma, usable, None, geometry.groups, GAIN)
    on = deconvolution.grid(adc.shape[1], 512.0)
    return [charge.of_plane(samples[plane.rows], plane, on, GAIN) for plane in geometry.planes]


def agreement(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float, float]:
    """Correlation of all pixels, and ratio of the total charge."""
    inner = np.s_[:, END:-END]
    return float(np.corrcoef(ours[inner].ravel(), theirs[inner].ravel())[0, 1]), float(ours[inner].sum() / theirs[inner].sum())


def test_charge_agrees_with_wire_cell(two_boards: Boards) -> None:
    geometry = geometry_of("pdhd", "P02NL", two_boards.channels)
    found = process(two_boards.adc, geometry)
    for plane, ours, at_least, within in zip(geometry.planes, found, (0.97, 0.97, 0.99), (0.05, 0.05, 0.01), strict=True):
        correlation, ratio = agreement(ours, two_boards.gauss[plane.rows])
        assert correlation > at_least, plane.name
        assert ratio == pytest.approx(1, abs=within), plane.name


def test_a_whole_event_agrees_with_wire_cell(shared_data: Path) -> None:
    with np.load(shared_data / "nfsp" / "evt1_raw512_14mVfC.npz") as file:
        adc, channels = file["adc"].astype(np.uint16), file["channels"].astype(np.int32)
    with np.load(shared_data / "nfsp" / "evt1_wct_sp.npz") as file:
        theirs = file["gauss1"].astype(np.float32)
    geometry = geometry_of("pdhd", "P02NL", channels)
    for plane, ours, at_least in zip(geometry.planes, process(adc, geometry), (0.97, 0.98, 0.99), strict=True):
        assert ours.shape == theirs[plane.rows].shape
        correlation, ratio = agreement(ours, theirs[plane.rows])
        assert correlation > at_least, plane.name
        assert ratio == pytest.approx(1, abs=0.05), plane.name


@pytest.mark.parametrize("name", ["U", "V", "W"])
def test_noise_alone_makes_next_to_no_charge(name: str) -> None:
    geometry = geometry_of("pdhd", "P02NL", np.arange(2560, 5120, dtype=np.int32))
    plane = next(plane for plane in geometry.planes if plane.name == name)
    noise = (13 * np.random.default_rng(0).standard_normal((plane.n_channels, 1500))).astype(np.float32)
    result = charge.of_plane(noise, plane, deconvolution.grid(1500, 512.0), GAIN)
    assert (result >= 0).all()
    assert np.count_nonzero(result) < 0.002 * result.size


def test_channels_of_zeros_give_zeros_and_do_not_disturb_others(two_boards: Boards) -> None:
    geometry = geometry_of("pdhd", "P02NL", two_boards.channels)
    w = geometry.planes[2]
    _, samples = pedestal.measure(two_boards.adc[w.rows], None)
    on = deconvolution.grid(samples.shape[1], 512.0)
    whole = charge.of_plane(samples, w, on, GAIN)
    samples[40:44] = 0
    holed = charge.of_plane(samples, w, on, GAIN)
    assert not holed[40:44].any()
    assert np.array_equal(holed[:39], whole[:39])


def test_charge_is_whole_electrons(two_boards: Boards) -> None:
    geometry = geometry_of("pdhd", "P02NL", two_boards.channels)
    for found in process(two_boards.adc, geometry):
        assert found.dtype == np.float32
        assert np.array_equal(found, np.trunc(found))
