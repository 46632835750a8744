"""What a wire answers to an electron, and the filters of the deconvolution.

The response is that of Wire-Cell for ProtoDUNE-HD: the field response `dune-garfield-1d565`, averaged over the position within a wire's
cell, convolved with the cold electronics (2.2 µs shaping) and the 14-bit ADC (16383 counts for 1.4 V), in ADC per electron on ticks of
500 ns, for the wire the charge drifts to (row 10) and its ten neighbours on either side. Filters: `sp-filters.jsonnet` of dunereco.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.nf_sp.geometry import DATA
from stages.nf_sp.pedestal import REFERENCE_GAIN

TICK_US = 0.5
CENTRE_WIRE = 10
# From the time charge arrives at the wire to the start of its response: ctoffset 1 µs and 100 mm of drift at 1.565 mm/µs.
ARRIVAL_TICKS = int((1.0 + 100.0 / 1.565) / TICK_US)
# In one dimension a wire's signal is taken as made by charge that arrives alike at the wire and at its next neighbours. The sum over
# all 21 wires is right only for tracks along the wire plane; the centre wire alone forgets what neighbours induce and, for induction
# planes, almost doubles the charge. One neighbour on either side agrees best with the two-dimensional deconvolution of Wire-Cell.
SUMMED_NEIGHBOURS = 1


@cache
def response(role: str, gain_mv_per_fc: float) -> NDArray[np.float64]:
    """Response of plane `role` (U, V, W) to one electron, summed over the neighbouring wires: ADC at ticks of 500 ns."""
    with np.load(DATA / "pdhd_response.npz") as file:
        wires = file[f"response_{role}"].astype(np.float64)
    near = wires[CENTRE_WIRE - SUMMED_NEIGHBOURS : CENTRE_WIRE + SUMMED_NEIGHBOURS + 1]
    total: NDArray[np.float64] = near.sum(axis=0) * (gain_mv_per_fc / REFERENCE_GAIN)
    return total


def high_cut(frequency_mhz: NDArray[np.float64], sigma_mhz: float, power: float) -> NDArray[np.float64]:
    """exp(-(f/sigma)^power / 2), and 0 at f = 0."""
    gain: NDArray[np.float64] = np.exp(-0.5 * (frequency_mhz / sigma_mhz) ** power)
    gain[frequency_mhz == 0] = 0
    return gain


def low_cut(frequency_mhz: NDArray[np.float64], tau_mhz: float) -> NDArray[np.float64]:
    """1 - exp(-(f/tau)^2)."""
    cut: NDArray[np.float64] = 1 - np.exp(-((frequency_mhz / tau_mhz) ** 2))
    return cut


@cache
def constants() -> dict[str, Any]:
    """The filters' constants, as in data/pdhd_filters.json."""
    content: dict[str, Any] = json.loads((DATA / "pdhd_filters.json").read_text())
    return content
