"""What can be judged: the scalars of a plane, numbers computed from them, distances to the reference run, and fractions of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dashboard.dqm.metrics import BY_KEY
from dashboard.dqm.record import TriggerRecords
from dashboard.dqm.scalars import INDEX, SCALARS, Scalars

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of each plane, or one of the file as a whole."""

    key: str
    unit: str = ""
    form: Literal["number", "count", "percent"] = "number"
    of_file: bool = False


_FRACTIONS = {
    "dead_fraction": "n_dead",
    "noisy_fraction": "n_noisy",
    "missing_channels_fraction": "n_missing",
    "low_fraction": "n_low",
    "high_fraction": "n_high",
}
# In the order in which `computed` gives them.
COMPUTED = (
    *(Quantity(key, form="percent") for key in _FRACTIONS),
    Quantity("pedestal_spread_adc", "ADC"),
    Quantity("rms_nf_spread_adc", "ADC"),
    Quantity("coherent_reduction"),
    Quantity("charge_to_w"),
)
# In the order in which `distances.py` gives them.
DISTANCES = (
    Quantity("spectrum_chi2"),
    Quantity("spectrum_nf_chi2"),
    Quantity("hit_charge_ks"),
    Quantity("channels_changed_fraction", form="percent"),
)
OF_FILE = (
    Quantity("unusable_fraction", form="percent", of_file=True),
    Quantity("error_bits_fraction", form="percent", of_file=True),
)


def _scalars() -> Iterator[Quantity]:
    for key in SCALARS:
        metric = BY_KEY.get(key.removesuffix("_p05").removesuffix("_p95"))
        yield Quantity(key, "channels", "count") if metric is None else Quantity(key, metric.unit, metric.form)


_OF_PLANE = (*_scalars(), *COMPUTED, *DISTANCES)
# The place of each among the values of a plane.
PLACE: Mapping[str, int] = {quantity.key: place for place, quantity in enumerate(_OF_PLANE)}
QUANTITIES: Mapping[str, Quantity] = {quantity.key: quantity for quantity in (*_OF_PLANE, *OF_FILE)}


def computed(scalars: Scalars) -> Values:
    """Numbers made of scalars [elements, planes, scalars]: [elements, planes, computed]; NaN where there is none."""

    def of(key: str) -> Values:
        return scalars[..., INDEX[key]]

    found = np.empty((*scalars.shape[:2], len(COMPUTED)), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        found[..., : len(_FRACTIONS)] = scalars[..., _COUNTED] / of("n_channels")[..., None]
        rest = len(_FRACTIONS)
        found[..., rest] = of("pedestal_adc_p95") - of("pedestal_adc_p05")
        found[..., rest + 1] = of("rms_nf_adc_p95") - of("rms_nf_adc_p05")
        found[..., rest + 2] = of("coherent_rms_before_adc") / of("coherent_rms_after_adc")
        found[..., rest + 3] = of("charge_e") / of("charge_e")[..., 2:]
    found[~np.isfinite(found)] = np.nan
    return found


_COUNTED = [INDEX[counts] for counts in _FRACTIONS.values()]


def of_file(records: TriggerRecords | None) -> dict[str, float]:
    """The fractions of a file by their key; none of a file without trigger records."""
    if records is None or not records.n_records:
        return {}
    fractions = (records.n_unusable / records.n_records, records.n_with_error_bits / records.n_records)
    return {quantity.key: fraction for quantity, fraction in zip(OF_FILE, fractions, strict=True)}
