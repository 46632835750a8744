"""The measures of quality that go into a job's report: a few numbers for each plane, means over all records and elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.nf_sp.quality import ElementQuality

# Measures of channels: the median over the plane's channels; those of planes as they are.
OF_CHANNELS = {"rms_raw": "rms_raw_adc", "rms_nf": "rms_nf_adc", "noise_e": "noise_e_per_tick"}
OF_PLANES = {
    "coherent_rms_before": "coherent_before_adc",
    "coherent_rms_after": "coherent_after_adc",
    "filled": "filled",
    "clipped": "clipped",
    "without_signal": "without_signal",
    "charge_e": "charge_e",
    "sp_gain": "sp_gain",
}


def of_planes(qualities: Sequence[ElementQuality]) -> dict[str, float | None]:
    """`<measure>_<plane>` for each measure and plane; None where nothing is known. See docs/reference/stages.md."""
    gathered: dict[str, list[float]] = {}
    for quality in qualities:
        for index, plane in enumerate(quality.geometry.planes):
            for name, shown in OF_CHANNELS.items():
                values = quality.mean(name)[plane.rows]
                known = values[np.isfinite(values)]
                gathered.setdefault(f"{shown}_{plane.name}", []).extend([float(np.median(known))] if len(known) else [])
            for name, shown in OF_PLANES.items():
                one = quality.mean(name)
                gathered.setdefault(f"{shown}_{plane.name}", []).extend([float(one[index])] if np.isfinite(one[index]) else [])
    return {name: round(float(np.mean(values)), 4) if values else None for name, values in gathered.items()}
