"""The quantities of a plane that tables, tiles and trends show, and the elements each detector has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from dashboard.dqm.scalars import INDEX

# In the order of their Wire-Cell anodes. An element that a file has no data of is shown as such.
ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "pdhd": ("P02SU", "P02NL", "P01SU", "P01NL"),
    "pdvd": ("CRP2", "CRP3", "CRP4", "CRP5"),
    "pdsp": ("APA1", "APA2", "APA3", "APA4", "APA5", "APA6"),
}


class Group(StrEnum):
    """What a shifter looks at: one column of the matrix of elements."""

    NOISE = "noise"
    COHERENT = "coherent"
    PEDESTAL = "pedestal"
    CHANNELS = "channels"
    READOUT = "readout"
    SIGNAL = "signal"
    REFERENCE = "reference"

    @property
    def words(self) -> str:
        return _GROUPS[self]


_GROUPS = {
    Group.NOISE: "noise of the channels, raw and after filtering",
    Group.COHERENT: "noise that channels share",
    Group.PEDESTAL: "baseline of the channels",
    Group.CHANNELS: "dead, noisy and missing channels",
    Group.READOUT: "samples that did not arrive, or are at the end of the scale",
    Group.SIGNAL: "hits and charge after signal processing",
    Group.REFERENCE: "distance to the reference run",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity of a plane; `key` is its place among the scalars. With `spread` its 5 % and 95 % points over the channels are known."""

    key: str
    words: str
    unit: str
    group: Group
    form: Literal["number", "count", "percent"] = "number"
    spread: bool = False

    @property
    def index(self) -> int:
        """Its place in a block of scalars; the 5 % and 95 % points follow it."""
        return INDEX[self.key]


METRICS = (
    Metric("pedestal_adc", "pedestal", "ADC", Group.PEDESTAL, spread=True),
    Metric("rms_raw_adc", "RMS raw", "ADC", Group.NOISE, spread=True),
    Metric("rms_nf_adc", "RMS filtered", "ADC", Group.NOISE, spread=True),
    Metric("std_raw_adc", "standard deviation raw", "ADC", Group.NOISE),
    Metric("coherent_fraction", "coherent", "", Group.COHERENT, "percent"),
    Metric("coherent_rms_before_adc", "coherent RMS before", "ADC", Group.COHERENT),
    Metric("coherent_rms_after_adc", "coherent RMS after", "ADC", Group.COHERENT),
    Metric("n_dead", "dead", "channels", Group.CHANNELS, "count"),
    Metric("n_noisy", "noisy", "channels", Group.CHANNELS, "count"),
    Metric("n_missing", "missing", "channels", Group.CHANNELS, "count"),
    Metric("n_low", "low", "channels", Group.CHANNELS, "count"),
    Metric("n_high", "high", "channels", Group.CHANNELS, "count"),
    Metric("missing_fraction", "samples missing", "", Group.READOUT, "percent"),
    Metric("saturated_fraction", "samples saturated", "", Group.READOUT, "percent"),
    Metric("hits", "hits", "/record", Group.SIGNAL),
    Metric("charge_e", "charge", "e/record", Group.SIGNAL),
    Metric("sp_nonzero_fraction", "pixels with charge", "", Group.SIGNAL, "percent"),
    Metric("sp_gain", "SP gain", "", Group.SIGNAL),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def elements_of(detector: str, seen: Iterable[str]) -> list[str]:
    """The elements to show: those the detector has, and whatever else was `seen` in records."""
    known = list(ELEMENTS.get(detector, ()))
    return known + sorted(set(seen) - set(known))
