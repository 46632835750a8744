"""Which event displays are made of an element: each plane before and after noise filtering, and after signal processing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.derived import derived_name
from stages.evaluate import pictures
from stages.evaluate.record import Picture
from stages.stage import StageContext

_KINDS = {"raw": "pedestal subtracted", "nf": "after noise filtering", "sp": "charge"}


def write(context: StageContext, info: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[Picture]:
    """Write the PNGs of one element into the output folder; `info` and `arrays` are its parts of the quality files."""
    written = []
    for plane in info["planes"]:
        first, n_channels = plane["first_row"], plane["n_channels"]
        rms = arrays["rms_raw"][first : first + n_channels]
        limit_adc = pictures.waveform_range(float(np.nanmedian(rms)) if np.isfinite(rms).any() else float("nan"))
        for kind, title in _KINDS.items():
            if f"picture_{kind}" not in arrays:
                continue
            image = arrays[f"picture_{kind}"][first : first + n_channels]
            name = derived_name(context, f"{info['element']}_{plane['plane']}_{kind}", "png")
            path = context.output_dir / name
            if kind == "sp":
                limit = pictures.charge_range(image)
                pictures.write_charge(path, image, limit)
                scale = f"0 to {limit:.0f} e per tick"
            else:
                pictures.write_waveforms(path, image, limit_adc)
                scale = f"±{limit_adc:.0f} ADC"
            written.append(
                Picture(
                    name=name,
                    title=f"{info['element']} {plane['plane']}, trigger record {info['pictured_record']}: {title}, {scale}",
                    element=info["element"],
                    plane=plane["plane"],
                    kind=kind,
                    record=info["pictured_record"],
                )
            )
    return written
