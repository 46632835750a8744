"""Trigger records that stand out among those of their file: an average over a file's records hides a single bad one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from dashboard.dqm.record_file import Record

# With fewer records there is no telling what is usual.
LEAST_RECORDS = 5
# In units of the robust width of the records of the file.
FAR = 6.0
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is compared. `least_width`: the width of the usual values is taken as at least this fraction of their median."""

    key: str
    words: str
    unit: str
    least_width: float


QUANTITIES = (
    Quantity("hits", "hits", "", 0.05),
    Quantity("charge_e", "charge", "e", 0.05),
    Quantity("rms_nf_adc", "RMS filtered", "ADC", 0.02),
)
MISSING = Quantity("n_missing", "channels missing", "", 0.0)


@dataclass(frozen=True, slots=True)
class OutlyingRecord:
    """A trigger record whose `value` is far from the `usual` one of its file; `distance` in widths of the usual values."""

    element: str
    plane: str
    record: int
    sequence: int
    quantity: Quantity
    value: float
    usual: float
    distance: float

    @property
    def label(self) -> str:
        """Its number, with the sequence number of a split readout."""
        return f"{self.record}" + (f".{self.sequence}" if self.sequence else "")


def outlying_records(record: Record) -> list[OutlyingRecord]:
    """The trigger records of a file that stand out, the farthest first. Records made before this was recorded have none."""
    found = []
    for element in record["elements"]:
        series: dict[tuple[str, Quantity], list[tuple[Mapping[str, Any], float]]] = {}
        for item in element.get("by_record", ()):
            for plane in item["planes"]:
                for quantity in (*QUANTITIES, MISSING):
                    if (value := plane[quantity.key]) is not None:
                        series.setdefault((plane["plane"], quantity), []).append((item, value))
        for (plane_name, quantity), of_records in series.items():
            values = [value for _, value in of_records]
            if len(values) < LEAST_RECORDS:
                continue
            usual = median(values)
            width = _width(values, usual, quantity)
            found += [
                OutlyingRecord(
                    element["element"], plane_name, item["record"], item["sequence"], quantity, value, usual, abs(value - usual) / width
                )
                for item, value in of_records
                if abs(value - usual) > FAR * width
            ]
    return sorted(found, key=lambda outlier: -outlier.distance)


def _width(values: Sequence[float], usual: float, quantity: Quantity) -> float:
    spread = MAD_TO_SIGMA * median(abs(value - usual) for value in values)
    # Counts fluctuate by themselves.
    counted = math.sqrt(usual) if quantity.key in ("hits", "n_missing") and usual > 0 else 0.0
    return max(spread, counted, quantity.least_width * abs(usual), 1.0 if quantity is MISSING else 1e-9)
