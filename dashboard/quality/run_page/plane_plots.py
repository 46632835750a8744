"""What is drawn of the shown file: values of each channel, spectrum and hits of a plane; and the same of the run it is compared to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dashboard.dqm.record_file import Record, plane_of, planes_of
from dashboard.quality.run_page.choice import View
from dashboard.quality.run_page.comparison import Comparison

# Smallest step that is sent, of a plane or element and of all channels at once: finer than the plots show.
_STEPS: Mapping[str, tuple[float, float]] = {
    "rms_raw_adc": (0.01, 0.1),
    "rms_nf_adc": (0.01, 0.1),
    "pedestal_adc": (0.1, 2.0),
    "charge_e": (100.0, 5000.0),
}


def plane_plots(record: Record, element: str, plane: str, comparison: Comparison) -> dict[str, Any] | None:
    """Spectrum and charge of the hits of a plane, and those of the other run in the same bins. None: the file has no such plane."""
    found = plane_of(record, element, plane)
    if found is None:
        return None
    spectrum, hits, other = found["spectrum"], found["hit_charge_e"], comparison.planes.get((element, plane))
    alike_spectrum = other is not None and other.spectrum["frequency_mhz"] == spectrum["frequency_mhz"]
    alike_hits = other is not None and other.hit_charge_e["edges"] == hits["edges"]
    return {
        "spectrum": spectrum,
        "hits": hits,
        "other_spectrum": {name: other.spectrum[name] for name in ("before_adc", "after_adc")} if other and alike_spectrum else None,
        "other_hits": other.hit_charge_e["counts"] if other and alike_hits else None,
    }


def channel_plots(record: Record, element: str, plane: str, view: View, comparison: Comparison) -> list[dict[str, Any]]:
    """The values of the channels of one plane, of an element, or of all, by plane in the order of their offline numbers.

    A value is (`from` + its entry in `steps`) × `step`.
    """
    chosen = {"plane": {(element, plane)}, "element": {(element, name) for name in "UVW"}}.get(view)
    planes = []
    for of_element, found in planes_of(record):
        key = (of_element, found["plane"])
        if chosen is not None and key not in chosen:
            continue
        values, other = found["channels"], comparison.planes.get(key)
        size = len(values["pedestal_adc"])
        planes.append(
            {
                "element": of_element,
                "plane": found["plane"],
                "first": values["first"],
                "size": size,
                **{name: _steps(values[name], name, view) for name in _STEPS},
                "other": None
                if other is None
                else {name: _steps(_beside(other.channels, name, values["first"], size), name, view) for name in _STEPS},
            }
        )
    return sorted(planes, key=lambda item: item["first"])


def _beside(channels: Mapping[str, Any], name: str, first: int, size: int) -> Sequence[float | None]:
    """The values of another run at the channels from `first` on; None where it has none."""
    values, begin = channels[name], channels["first"]
    if begin == first and len(values) == size:
        return values  # type: ignore[no-any-return]
    return [values[at - begin] if 0 <= at - begin < len(values) else None for at in range(first, first + size)]


def _steps(values: Sequence[float | None], name: str, view: View) -> dict[str, Any]:
    """Numbers as whole steps from their median: a third of the bytes."""
    step = _STEPS[name][view == "all"]
    numbers = np.array(values, np.float64)
    known = np.isfinite(numbers)
    begin = round(float(np.median(numbers[known])) / step) if known.any() else 0
    steps = np.rint(np.where(known, numbers, 0.0) / step) - begin
    whole = steps.astype(np.int64).tolist()
    return {
        "step": step,
        "from": begin,
        "steps": whole if known.all() else [value if is_known else None for value, is_known in zip(whole, known.tolist(), strict=True)],
    }
