"""What a wire answers to an electron: the field that the drifting charge makes, and the electronics behind the wire.

The response is that of Wire-Cell for ProtoDUNE-HD: the field response `dune-garfield-1d565`, averaged over the position within a wire's
cell, convolved with the cold electronics (2.2 µs shaping) and the 14-bit ADC (16383 counts for 1.4 V), in ADC per electron on ticks of
500 ns, for the wire the charge drifts to (row 10) and its ten neighbours on either side (data/pdhd_response.npz, at 14 mV/fC).
Another detector's can be given as a file with arrays of the same names.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import ConfigError
from stages.nf_sp.geometry import DATA
from stages.nf_sp.pedestal import REFERENCE_GAIN

TICK_US = 0.5
PDHD = DATA / "pdhd_response.npz"
# From the time charge arrives at the wire to the start of its response: ctoffset 1 µs and 100 mm of drift at 1.565 mm/µs.
ARRIVAL_TICKS = int((1.0 + 100.0 / 1.565) / TICK_US)


@lru_cache(maxsize=16)
def response(role: str, gain_mv_per_fc: float, file: Path = PDHD) -> NDArray[np.float32]:
    """Response of the wires around an electron on a plane that plays `role` (U, V, W): ADC, [an odd number of wires, ticks of 500 ns].

    Raises:
        ConfigError: `file` is not there, or has no such response.
    """
    try:
        with np.load(file) as arrays:
            wires = arrays[f"response_{role}"].astype(np.float32)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"stages.nf_sp.response {str(file)!r}: no response of plane {role} ({error})") from None
    if wires.ndim != 2 or len(wires) % 2 == 0 or not np.isfinite(wires).all() or not wires.any():
        raise ConfigError(
            f"stages.nf_sp.response {str(file)!r}: response_{role} is {wires.shape}, expected [an odd number of wires, ticks]"
        )
    scaled: NDArray[np.float32] = wires * np.float32(gain_mv_per_fc / REFERENCE_GAIN)
    return scaled


@lru_cache(maxsize=4)
def noise_kernel(role: str) -> tuple[NDArray[np.float32], int]:
    """What the noise filter divides by to tell signal on plane U or V: ADC on 200 ticks at 14 mV/fC, and the tick of its lowest point."""
    with np.load(PDHD) as arrays:
        return arrays[f"noise_kernel_{role}"], int(arrays[f"noise_kernel_offset_{role}"])
