"""The quantities of a plane that tables and trends show, and the elements each detector has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

PLANES = ("U", "V", "W")

# In the order of their Wire-Cell anodes. An element that a file has no data of is shown as such.
ELEMENTS: Mapping[str, tuple[str, ...]] = {
    "pdhd": ("P02SU", "P02NL", "P01SU", "P01NL"),
    "pdvd": ("CRP2", "CRP3", "CRP4", "CRP5"),
}

PlaneScalars = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity of a plane. `value` reads it from the plane's summary, `spread` its 5 % and 95 % points over the channels."""

    key: str
    words: str
    unit: str
    value: Callable[[PlaneScalars], float | None]
    spread: Callable[[PlaneScalars], tuple[float | None, float | None]] | None = None
    form: Literal["number", "count", "percent"] = "number"


def _range(key: str, words: str) -> Metric:
    def spread(plane: PlaneScalars) -> tuple[float | None, float | None]:
        return plane[key]["p05"], plane[key]["p95"]

    return Metric(key, words, "ADC", lambda plane: plane[key]["median"], spread)


def _scalar(key: str, words: str, unit: str = "", form: Literal["number", "count", "percent"] = "number") -> Metric:
    return Metric(key, words, unit, lambda plane: plane[key], form=form)


METRICS = (
    _range("pedestal_adc", "pedestal"),
    _range("rms_raw_adc", "RMS raw"),
    _range("rms_nf_adc", "RMS filtered"),
    _scalar("coherent_fraction", "coherent", form="percent"),
    _scalar("n_dead", "dead", form="count"),
    _scalar("n_noisy", "noisy", form="count"),
    _scalar("n_missing", "missing", form="count"),
    _scalar("hits", "hits", "/record"),
    _scalar("charge_e", "charge", "e/record"),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def planes_of(summary: Mapping[str, Any]) -> dict[tuple[str, str], PlaneScalars]:
    """The scalars of a record's summary by (element, plane)."""
    return {(element["element"], plane["plane"]): plane for element in summary["elements"] for plane in element["planes"]}


def elements_of(detector: str, summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The elements to show: those the detector has, and whatever else the records hold."""
    known = list(ELEMENTS.get(detector, ()))
    seen = {element["element"] for summary in summaries for element in summary["elements"]}
    return known + sorted(seen - set(known))


def median_of(metric: Metric, planes: Sequence[PlaneScalars]) -> float | None:
    """The median of a metric over the files of a run."""
    values = [value for plane in planes if (value := metric.value(plane)) is not None]
    return median(values) if values else None
