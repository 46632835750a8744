"""The numbers of each plane: noise from the quality file, charge and hits from the frame file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.evaluate.elements import BeforeAfter, ByRecord, Channels, Element, Histogram, Number, Plane, PlaneOfRecord, Range, Spectrum
from stages.frames import FrameFile

# As DUNE-DAQ's rawdatautils dqmtests.py: standard deviation in ADC.
LOW_BELOW_ADC = {"U": 20.0, "V": 20.0, "W": 15.0}
HIGH_ABOVE_ADC = 100.0
# A run of charged ticks with less is the edge of a signal or noise: the electronics' noise alone is 500 e.
MIN_HIT_E = 1000.0
# Charge of a hit in electrons: ten bins a decade.
HIT_EDGES_E = np.geomspace(MIN_HIT_E, 1e7, 41).round(1)

Floats = NDArray[np.floating[Any]]
Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Charge:
    """Charge of an element, summed over its trigger records: per channel, and the hits and charged pixels of each channel.

    `by_ident` are hits and charge of each plane, [planes, 2], of the single trigger records, by their place in the file.
    """

    per_channel_e: NDArray[np.float64]
    charged_pixels: NDArray[np.int64]
    hits: NDArray[np.int64]
    hit_counts: NDArray[np.int64]
    n_pixels: int = 0
    by_ident: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def none(cls, n_channels: int) -> Charge:
        return cls(
            np.zeros(n_channels),
            np.zeros(n_channels, np.int64),
            np.zeros(n_channels, np.int64),
            np.zeros((n_channels, len(HIT_EDGES_E) - 1), np.int64),
        )

    def add(self, rows: NDArray[np.float32], first_row: int) -> None:
        """Add the frame rows of the channels from `first_row` on.

        A hit is a run of ticks above 0 on one channel, with at least `MIN_HIT_E`.
        """
        n_rows, n_ticks = rows.shape
        at = slice(first_row, first_row + n_rows)
        self.per_channel_e[at] += rows.sum(axis=1, dtype=np.float64)
        pixel = np.flatnonzero(rows > 0)
        row = pixel // max(n_ticks, 1)
        self.charged_pixels[at] += np.bincount(row, minlength=n_rows)
        if len(pixel) == 0:
            return
        starts = np.flatnonzero(np.concatenate(([True], (np.diff(pixel) > 1) | (np.diff(row) > 0))))
        hit_charge = np.add.reduceat(rows.ravel()[pixel].astype(np.float64), starts)
        large = hit_charge >= MIN_HIT_E
        hit_row, hit_charge = row[starts[large]], hit_charge[large]
        n_bins = len(HIT_EDGES_E) - 1
        number = np.minimum(np.searchsorted(HIT_EDGES_E, hit_charge, side="right") - 1, n_bins - 1)
        self.hits[at] += np.bincount(hit_row, minlength=n_rows)
        self.hit_counts[at] += np.bincount(hit_row * n_bins + number, minlength=n_rows * n_bins).reshape(n_rows, n_bins)

    def totals(self, planes: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Hits and charge so far of each plane, [planes, 2]."""
        rows = [_rows(plane) for plane in planes]
        return np.array([(self.hits[at].sum(), self.per_channel_e[at].sum()) for at in rows])


def read_charge(path: Path, elements: Sequence[Mapping[str, Any]], arrays: Mapping[str, Arrays]) -> dict[str, Charge]:
    """Charge and hits of each element, from all `gauss` frames of a frame file.

    Raises:
        DataError: a frame has other channels than the quality file, holds numbers that cannot be, or an element has not all its frames.
    """
    by_tag = {f"gauss{element['anode']}": element for element in elements}
    charge = {element["element"]: Charge.none(len(arrays[element["element"]]["channels"])) for element in elements}
    n_frames = dict.fromkeys(charge, 0)
    with FrameFile(path) as file:
        for key in file.keys:
            if key.tag not in by_tag:
                continue
            name = by_tag[key.tag]["element"]
            header = file.header(key)
            if not np.array_equal(header.channels, arrays[name]["channels"]):
                raise DataError(f"{path}: frame {key.tag} of record {key.ident} has other channels than {name} in the quality file")
            before = charge[name].totals(by_tag[key.tag]["planes"])
            first_row = 0
            for rows in file.rows(key):
                if not np.isfinite(rows).all():
                    raise DataError(f"{path}: frame {key.tag} of record {key.ident} holds numbers that are not finite")
                charge[name].add(rows, first_row)
                first_row += len(rows)
            charge[name].n_pixels += header.n_ticks
            charge[name].by_ident[key.ident] = charge[name].totals(by_tag[key.tag]["planes"]) - before
            n_frames[name] += 1
    for element in elements:
        if n_frames[element["element"]] != element["n_records"]:
            raise DataError(f"{path}: {n_frames[element['element']]} frames of {element['element']}, expected {element['n_records']}")
    return charge


def element_of(info: Mapping[str, Any], arrays: Arrays, charge: Charge) -> Element:
    """One APA or CRP of the data-quality record; `info` is its entry in the quality file."""
    return Element(
        element=info["element"],
        anode=info["anode"],
        channel_map=info["channel_map"],
        n_records=info["n_records"],
        n_ticks=info["n_ticks"],
        tick_ns=info["tick_ns"],
        planes=tuple(_plane(info["n_records"], plane, index, arrays, charge) for index, plane in enumerate(info["planes"])),
        by_record=tuple(_by_record(info["planes"], noted, charge) for noted in info["by_record"]),
    )


def _by_record(planes: Sequence[Mapping[str, Any]], noted: Mapping[str, Any], charge: Charge) -> ByRecord:
    """One trigger record: its noise as `nf_sp` `noted` it, its hits and charge from its frame."""
    found = zip(planes, noted["planes"], charge.by_ident[noted["ident"]], strict=True)
    return ByRecord(
        record=noted["record"],
        sequence=noted["sequence"],
        planes=tuple(
            PlaneOfRecord(plane["plane"], int(hits), _number(charge_e, 0), noise["rms_nf_adc"], noise["n_missing"])
            for plane, noise, (hits, charge_e) in found
        ),
    )


def _plane(n_records: int, info: Mapping[str, Any], index: int, arrays: Arrays, charge: Charge) -> Plane:
    rows = _rows(info)

    def channels(name: str) -> Floats:
        return arrays[name][rows]

    dead, noisy, absent = (channels(name) > 0.5 for name in ("dead", "noisy", "absent"))
    std = channels("std_raw")
    rms = _median(channels("rms_raw"))
    coherent = BeforeAfter(_number(arrays["coherent_rms_before"][index], 3), _number(arrays["coherent_rms_after"][index], 3))
    hits = charge.hits[rows]
    return Plane(
        plane=info["plane"],
        n_channels=info["n_channels"],
        n_missing=int(absent.sum()),
        n_dead=int(dead.sum()),
        n_noisy=int(noisy.sum()),
        n_low=int((~dead & (std < LOW_BELOW_ADC[info["plane"]])).sum()),
        n_high=int((std > HIGH_ABOVE_ADC).sum()),
        missing_fraction=_number(channels("missing").mean(dtype=np.float64), 6),
        saturated_fraction=_number(channels("saturated").mean(dtype=np.float64), 9),
        pedestal_adc=_range(channels("pedestal")),
        std_raw_adc=_range(std),
        rms_raw_adc=_range(channels("rms_raw")),
        rms_nf_adc=_range(channels("rms_nf")),
        coherent_rms_adc=coherent,
        coherent_fraction=_number((coherent.before / rms) ** 2, 4) if coherent.before is not None and rms > 0 else None,
        correlation=BeforeAfter(_number(arrays["correlation_before"][index], 4), _number(arrays["correlation_after"][index], 4)),
        spectrum=Spectrum(
            frequency_mhz=tuple(arrays["frequency_mhz"].round(5).tolist()),
            before_adc=_numbers(arrays["spectrum_before"][index], 3),
            after_adc=_numbers(arrays["spectrum_after"][index], 3),
        ),
        charge_e=_number(charge.per_channel_e[rows].sum() / n_records, 0),
        hits=_number(hits.sum() / n_records, 1),
        hit_charge_e=Histogram(tuple(HIT_EDGES_E.tolist()), tuple(charge.hit_counts[rows].sum(axis=0).tolist())),
        sp_nonzero_fraction=_number(charge.charged_pixels[rows].sum() / max(charge.n_pixels * info["n_channels"], 1), 6),
        sp_gain=_number(arrays["sp_gain"][index], 4),
        channels=Channels(
            first=info["first_channel"],
            pedestal_adc=_numbers(channels("pedestal"), 1),
            rms_raw_adc=_numbers(channels("rms_raw"), 2),
            rms_nf_adc=_numbers(channels("rms_nf"), 2),
            charge_e=_numbers(np.where(absent, np.nan, charge.per_channel_e[rows] / n_records), 0),
        ),
    )


def _rows(plane: Mapping[str, Any]) -> slice:
    return slice(plane["first_row"], plane["first_row"] + plane["n_channels"])


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _range(values: Floats) -> Range:
    known = values[np.isfinite(values)].astype(np.float64)
    if len(known) == 0:
        return Range(None, None, None)
    return Range(*(_number(value, 3) for value in np.quantile(known, (0.5, 0.05, 0.95))))


def _number(value: Any, digits: int) -> Number:
    number = float(value)
    return round(number, digits) if np.isfinite(number) else None


def _numbers(values: Floats, digits: int) -> tuple[Number, ...]:
    rounded = values.astype(np.float64).round(digits)
    return tuple(number if np.isfinite(number) else None for number in rounded.tolist())
