"""The filters of noise filter and signal processing: factors that spectra are multiplied with.

Shapes and constants are those of Wire-Cell for ProtoDUNE-HD (`sp-filters.jsonnet` of dunereco, `HfFilter`, `LfFilter`), in
data/pdhd_filters.json:

    high cut   exp(-(f / sigma)^power / 2), 0 at f = 0      Wiener_tight, Wiener_wide, Gaus_wide
    low cut    1 - exp(-(f / tau)^2)                         ROI_loose_lf, ROI_tight_lf, ROI_tighter_lf
    wire       exp(-(k / sigma)^2 / 2), k in units of the Nyquist frequency of the wire pitch
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.geometry import DATA

TICK_US = 0.5

Factors = NDArray[np.float32]


@lru_cache(maxsize=64)
def high_cut(name: str, role: str, n_ticks: int) -> Factors:
    """The filter `name` of a plane that plays `role` (U, V, W), for a transform of `n_ticks` ticks of 500 ns: [n_ticks // 2 + 1]."""
    constants = _constants()[name]
    constants = constants.get(role, constants)
    gain = np.exp(-0.5 * (_frequency_mhz(n_ticks) / constants["sigma_MHz"]) ** constants["power"])
    gain[0] = 0
    factors: Factors = gain.astype(np.float32)
    return factors


@lru_cache(maxsize=64)
def low_cut(name: str, n_ticks: int) -> Factors:
    """The filter `name` (ROI_loose_lf, ROI_tight_lf, ROI_tighter_lf), likewise."""
    cut: NDArray[np.float64] = 1 - np.exp(-((_frequency_mhz(n_ticks) / _constants()[f"{name}_tau_MHz"]) ** 2))
    return cut.astype(np.float32)


@lru_cache(maxsize=16)
def wire(role: str, n_wires: int) -> Factors:
    """The filter across `n_wires` wires of a plane that plays `role`: [n_wires], in the order of a Fourier transform."""
    constants = _constants()["Wire_col" if role == "W" else "Wire_ind"]
    wave = np.abs(np.fft.fftfreq(n_wires)) * 2
    factors: Factors = np.exp(-0.5 * (wave / constants["sigma"]) ** constants["power"]).astype(np.float32)
    return factors


def _frequency_mhz(n_ticks: int) -> NDArray[np.float64]:
    return np.arange(n_ticks // 2 + 1) / (n_ticks * TICK_US)


@cache
def _constants() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / "pdhd_filters.json").read_text())
    return content
