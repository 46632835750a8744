"""Noise filter and signal processing equal those of the real Wire-Cell, on inputs that both have seen.

A whole APA and two pairs of front-end boards where the reference data are; elsewhere 0.77 ms of two boards, whose ends Wire-Cell saw more
of than we do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.nf_sp import noise_filter, resampling, signal_processing
from stages.nf_sp.geometry import ElementGeometry, geometry_of
from tests.stages.conftest import TwoBoards

GAIN_MV_PER_FC = 14.0


@dataclass(frozen=True)
class Processed:
    """What we make of ADC values of P02NL."""

    geometry: ElementGeometry
    samples: NDArray[np.float32]
    masked: NDArray[np.bool_]

    def charge(self, plane: int) -> signal_processing.Charge:
        rows = self.geometry.planes[plane].rows
        return signal_processing.of_plane(self.samples[rows], self.masked[rows], self.geometry.planes[plane], GAIN_MV_PER_FC)


def process(adc: NDArray[np.int16], channels: NDArray[np.int16]) -> Processed:
    geometry = geometry_of("pdhd", "P02NL", channels.astype(np.int32))
    samples = resampling.resample(adc.astype(np.float32), resampling.grid(adc.shape[1], 512.0))
    health, noise = noise_filter.measure(samples, None, np.zeros(len(adc), bool), geometry, GAIN_MV_PER_FC)
    filtered = noise_filter.clean(samples, None, health, noise, geometry, GAIN_MV_PER_FC)
    return Processed(geometry, samples, filtered.masked)


def correlation(ours: NDArray[np.float32], theirs: NDArray[np.int16]) -> float:
    return float(np.corrcoef(ours.ravel(), theirs.ravel().astype(np.float32))[0, 1])


def ratio(ours: NDArray[np.float32], theirs: NDArray[np.int16]) -> float:
    return float(ours.sum(dtype=float) / theirs.sum(dtype=float))


@pytest.fixture(scope="module", params=["small_2femb", "small_2femb_defects"])
def boards(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Processed, dict[str, NDArray[np.int16]]]:
    with np.load(shared_data / "nfsp" / f"{request.param}.npz") as file:
        reference = {name: file[name] for name in file.files}
    return process(reference["adc"], reference["channels"]), reference


def test_the_same_channels_and_ticks_are_masked(boards: tuple[Processed, dict[str, NDArray[np.int16]]]) -> None:
    ours, reference = boards
    theirs = np.zeros_like(ours.masked)
    for channel, begin, end in reference["chanmask_bad"]:
        theirs[np.searchsorted(reference["channels"], channel), begin:end] = True
    assert np.array_equal(ours.masked, theirs)


@pytest.mark.parametrize("plane", [0, 1, 2], ids=["U", "V", "W"])
def test_filtered_waveforms_differ_by_less_than_0_2_adc(boards: tuple[Processed, dict[str, NDArray[np.int16]]], plane: int) -> None:
    ours, reference = boards
    rows = ours.geometry.planes[plane].rows
    difference = (ours.samples - reference["nf_x8"] / 8)[rows][~ours.masked[rows]]
    assert np.sqrt(np.mean(difference.astype(float) ** 2)) < 0.2


@pytest.mark.parametrize(("plane", "lowest", "charge"), [(0, 0.993, 0.02), (1, 0.993, 0.02), (2, 0.9999, 0.002)], ids=["U", "V", "W"])
def test_the_charge_of_two_boards_is_wire_cells(
    boards: tuple[Processed, dict[str, NDArray[np.int16]]], plane: int, lowest: float, charge: float
) -> None:
    ours, reference = boards
    found, theirs = ours.charge(plane).gauss, reference["gauss"][ours.geometry.planes[plane].rows]
    assert correlation(found, theirs) > lowest
    assert ratio(found, theirs) == pytest.approx(1, abs=charge)


@pytest.fixture(scope="module")
def apa(shared_data: Path) -> Processed:
    with np.load(shared_data / "nfsp" / "evt1_raw512_14mVfC.npz") as file:
        return process(file["adc"], file["channels"])


@pytest.mark.parametrize(("plane", "lowest", "charge"), [(0, 0.993, 0.02), (1, 0.993, 0.02), (2, 0.9999, 0.002)], ids=["U", "V", "W"])
def test_the_charge_of_a_whole_apa_is_wire_cells_and_no_further_from_the_truth(
    apa: Processed, shared_data: Path, plane: int, lowest: float, charge: float
) -> None:
    with np.load(shared_data / "nfsp" / "evt1_wct_sp.npz") as file:
        gauss, wiener, rms = file["gauss1"], file["wiener1"], file["wiener1_rms"]
    with np.load(shared_data / "nfsp" / "evt1_truth.npz") as file:
        truth = file["truth"]
    rows, found = apa.geometry.planes[plane].rows, apa.charge(plane)
    assert correlation(found.gauss, gauss[rows]) > lowest
    assert ratio(found.gauss, gauss[rows]) == pytest.approx(1, abs=charge)
    assert correlation(found.wiener, wiener[rows]) > lowest
    assert ratio(found.wiener, wiener[rows]) == pytest.approx(1, abs=charge)
    good = ~apa.geometry.listed_bad[rows]
    assert np.median(found.noise_e[good] / rms[rows][good]) == pytest.approx(1, abs=0.01)
    ours, theirs = (part.sum(dtype=float) / truth[rows][good].sum(dtype=float) for part in (found.gauss[good], gauss[rows][good]))
    assert abs(ours - 1) < abs(theirs - 1) + 0.005


def test_the_mask_of_a_whole_apa_is_wire_cells(apa: Processed, shared_data: Path) -> None:
    with np.load(shared_data / "nfsp" / "evt1_wct_sp.npz") as file:
        bad = np.unique(file["chanmask_bad"][:, 0])
    of_apa = bad[(bad >= 2560) & (bad < 5120)]
    assert np.array_equal(np.flatnonzero(apa.masked.all(axis=1)) + 2560, of_apa)
    assert apa.masked.any(axis=1).sum() == len(of_apa)


def test_a_cut_of_two_boards_is_wire_cells_away_from_its_ends(two_boards: TwoBoards) -> None:
    ours = process(two_boards.adc.astype(np.int16), two_boards.channels.astype(np.int16))
    inside = slice(150, -150)
    for plane, lowest in ((0, 0.985), (1, 0.985), (2, 0.9995)):
        rows = ours.geometry.planes[plane].rows
        found, theirs = ours.charge(plane).gauss[:, inside], two_boards.gauss[rows, inside]
        assert correlation(found, theirs.astype(np.int16)) > lowest, plane
        assert ratio(found, theirs.astype(np.int16)) == pytest.approx(1, abs=0.04)


def test_a_signal_processing_of_half_the_gain_gives_the_same_charge(two_boards: TwoBoards) -> None:
    plane = geometry_of("pdhd", "P02NL", two_boards.channels).planes[2]
    waveforms = two_boards.waveforms()[plane.rows]
    nothing = np.zeros(waveforms.shape, bool)
    full = signal_processing.of_plane(waveforms, nothing, plane, 14.0)
    half = signal_processing.of_plane(waveforms * np.float32(7.8 / 14), nothing, plane, 7.8)
    assert np.abs(full.gauss - half.gauss).max() <= 1
    wrong = signal_processing.of_plane(waveforms, nothing, plane, 7.8)
    assert ratio(wrong.gauss, full.gauss.astype(np.int16)) == pytest.approx(14 / 7.8, rel=0.02)


def test_there_is_no_charge_under_a_mask(two_boards: TwoBoards) -> None:
    plane = geometry_of("pdhd", "P02NL", two_boards.channels).planes[0]
    waveforms = two_boards.waveforms()[plane.rows]
    masked = np.zeros(waveforms.shape, bool)
    masked[10:20] = masked[:, 400:600] = True
    charge = signal_processing.of_plane(waveforms, masked, plane, 14.0)
    assert not charge.gauss[masked].any()
    assert not charge.wiener[masked].any()
    assert charge.gauss.any()


@pytest.mark.parametrize("gain", [14.0, 7.8])
def test_p02su_is_processed_with_v_as_its_collection_plane(two_boards: TwoBoards, gain: float) -> None:
    """No reference: the waveforms of another APA on its channels, so that only what does not hang on the response can be checked."""
    geometry = geometry_of("pdhd", "P02SU", two_boards.channels - 2560)
    samples = two_boards.waveforms() * np.float32(gain / 14)
    health, noise = noise_filter.measure(samples, None, np.zeros(len(samples), bool), geometry, gain)
    filtered = noise_filter.clean(samples, None, health, noise, geometry, gain)
    assert health.good.all()
    assert not filtered.masked.any()
    assert [one.rms_after < one.rms_before for one in filtered.common] == [True] * len(geometry.groups)
    for plane in geometry.planes:
        charge = signal_processing.of_plane(samples[plane.rows], filtered.masked[plane.rows], plane, gain)
        assert np.isfinite(charge.gauss).all()
        assert charge.gauss.any()
        assert (charge.noise_e > 0).all()
