"""The scalars of a record, kept in its row: what tables and trends are made of, without channels, spectra and pictures."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict

from dashboard.dqm.record import DqmRecord, Number, Range

_BULKY = {"spectrum", "hit_charge_e", "channels"}


class PlaneSummary(BaseModel):
    """The scalars of one plane of one element."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    plane: str
    n_channels: int
    n_missing: int
    n_dead: int
    n_noisy: int
    n_low: int
    n_high: int
    missing_fraction: Number
    saturated_fraction: Number
    pedestal_adc: Range
    std_raw_adc: Range
    rms_raw_adc: Range
    rms_nf_adc: Range
    coherent_rms_before_adc: Number
    coherent_rms_after_adc: Number
    coherent_fraction: Number
    charge_e: Number
    hits: Number
    sp_nonzero_fraction: Number


class ElementSummary(BaseModel):
    """The planes of one APA or CRP."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    element: str
    anode: int
    n_records: int
    planes: list[PlaneSummary]


class Summary(BaseModel):
    """What is kept of a record in its row. `pictures_missing`: listed in the record, but not uploaded (yet)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    payload: str
    notes: list[str]
    n_records: int | None
    n_used: int | None
    n_problems: int | None
    elements: list[ElementSummary]
    pictures_missing: list[str]


def summarise(record: DqmRecord, pictures_missing: Collection[str]) -> dict[str, Any]:
    """The summary of a record, as JSON."""
    elements = [
        {
            "element": element.element,
            "anode": element.anode,
            "n_records": element.n_records,
            "planes": [
                plane.model_dump(exclude=_BULKY | {"coherent_rms_adc", "correlation"})
                | {"coherent_rms_before_adc": plane.coherent_rms_adc.before, "coherent_rms_after_adc": plane.coherent_rms_adc.after}
                for plane in element.planes
            ],
        }
        for element in record.elements
    ]
    return {
        "payload": record.payload,
        "notes": list(record.notes),
        "n_records": record.records.n_records if record.records else None,
        "n_used": record.records.n_used if record.records else None,
        "n_problems": record.records.n_problems if record.records else None,
        "elements": elements,
        "pictures_missing": sorted(pictures_missing),
    }
