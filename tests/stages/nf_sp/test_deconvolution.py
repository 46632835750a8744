"""Deconvolution gives back the charge that made the pulses, on its wire and at its time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dune_prompt.errors import ConfigError
from stages.nf_sp import deconvolution, filters, response
from stages.nf_sp.geometry import PlaneGeometry, geometry_of

N_WIRES, N_TICKS = 100, 2000
PLANES = {plane.name: plane for plane in geometry_of("pdhd", "P02NL", np.arange(2560, 5120, dtype=np.int32)).planes}


def pulses(plane: PlaneGeometry, charge: NDArray[np.float64], gain: float) -> NDArray[np.float32]:
    """The waveforms that `charge` (electrons, [wires, ticks]) makes: the sum of what each electron makes on its wire and those around."""
    wires = response.response(plane.role, gain).astype(float)
    result = np.zeros((N_WIRES, N_TICKS + 300))
    for wire, tick in np.argwhere(charge):
        for row, offset in enumerate(range(-10, 11)):
            if 0 <= wire + offset < N_WIRES:
                begin = tick - response.ARRIVAL_TICKS
                result[wire + offset, begin : begin + wires.shape[1]] += charge[wire, tick] * wires[row]
    return result[:, :N_TICKS].astype(np.float32)


def track(slope: float) -> NDArray[np.float64]:
    """5000 e on every wire, spread over some ticks as by diffusion."""
    tick = np.arange(N_TICKS)
    centre = 900 + slope * np.arange(N_WIRES)[:, None]
    shape = np.exp(-0.5 * ((tick - centre) / 2) ** 2)
    shape[shape < 1e-3] = 0
    return np.asarray(5000 * shape / shape.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("gain", [14.0, 7.8])
@pytest.mark.parametrize("name", ["U", "V", "W"])
def test_a_tracks_charge_comes_back_on_every_wire(name: str, gain: float) -> None:
    plane, charge = PLANES[name], track(2.0)
    deconvolved = deconvolution.deconvolve(pulses(plane, charge, gain), plane, gain)
    found = deconvolved.filtered(filters.high_cut("Gaus_wide", plane.role, deconvolved.padded))
    for wire in range(15, N_WIRES - 15):
        near = slice(int(900 + 2 * wire) - 25, int(900 + 2 * wire) + 26)
        line = np.linspace(found[wire, near][0], found[wire, near][-1], 51)
        above = found[wire, near] - line
        assert above.sum() == pytest.approx(5000, rel=0.03)
        assert (above * np.arange(51)).sum() / above.sum() == pytest.approx(25, abs=0.5)


def test_charge_on_one_wire_stays_there_on_a_collection_plane() -> None:
    charge = np.zeros((N_WIRES, N_TICKS))
    charge[40, 895:906] = 2000
    deconvolved = deconvolution.deconvolve(pulses(PLANES["W"], charge, 14.0), PLANES["W"], 14.0)
    found = deconvolved.filtered(filters.high_cut("Gaus_wide", "W", deconvolved.padded))
    found -= np.median(found, axis=1)[:, None]
    assert found[40, 870:931].sum() == pytest.approx(22_000, rel=0.02)
    others = np.abs(found[np.arange(N_WIRES) != 40, 870:931].sum(axis=1))
    assert others.max() < 0.02 * 22_000


def test_the_length_of_the_transform_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, wires = PLANES["V"], pulses(PLANES["V"], track(1.0), 14.0)
    found = []
    for n_ticks in (deconvolution.padded_ticks(N_TICKS), N_TICKS + 201):
        monkeypatch.setattr(deconvolution, "padded_ticks", lambda _, fixed=n_ticks: fixed)
        deconvolved = deconvolution.deconvolve(wires, plane, 14.0)
        found.append(deconvolved.filtered(filters.high_cut("Wiener_tight", "V", n_ticks) * filters.low_cut("ROI_tight_lf", n_ticks)))
    assert np.abs(found[0] - found[1]).max() < 0.01 * np.abs(found[0]).max()


def test_silence_gives_no_charge() -> None:
    deconvolved = deconvolution.deconvolve(np.zeros((N_WIRES, N_TICKS), np.float32), PLANES["U"], 14.0)
    assert not deconvolved.filtered(filters.high_cut("Gaus_wide", "U", deconvolved.padded)).any()


def test_a_response_of_another_detector_can_be_given(tmp_path: Path) -> None:
    wires = np.zeros((3, 50), np.float32)
    wires[1, 10] = 0.01
    np.savez(tmp_path / "vd.npz", response_W=wires, response_U=np.zeros((2, 50)))
    assert response.response("W", 7.0, tmp_path / "vd.npz")[1, 10] == pytest.approx(0.005)
    with pytest.raises(ConfigError, match=r"response_U is \(2, 50\), expected an|response_U is \(2, 50\), expected \[an odd"):
        response.response("U", 14.0, tmp_path / "vd.npz")
    with pytest.raises(ConfigError, match="no response of plane V"):
        response.response("V", 14.0, tmp_path / "vd.npz")
    with pytest.raises(ConfigError, match="no response of plane W"):
        response.response("W", 14.0, tmp_path / "missing.npz")
