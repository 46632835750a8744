"""Writes the ADC values of a raw file as frame files that Wire-Cell reads, one for each APA, and takes note of their quality."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.displays import Displays
from stages.nf_sp import masks, noise_filter, pedestal, resampling
from stages.nf_sp.displays import RecordImages
from stages.nf_sp.geometry import geometry_of
from stages.nf_sp.part import DAQ_TICK_NS, Found, Problem
from stages.nf_sp.quality import ElementQuality
from stages.nf_sp.quality_file import QualityWriter
from stages.npz import NpzWriter
from stages.rawdata import RawFile, RecordId


@dataclass(slots=True)
class Sent:
    """One frame that Wire-Cell is given: what its rows and its answer must be, and what is needed to judge it.

    `missing` are the ticks (500 ns) without samples, as in a mask: channel, first tick, tick behind the last.
    """

    ident: int
    record: RecordId
    channels: NDArray[np.int32]
    n_ticks: int
    time_ns: float
    images: RecordImages | None
    missing: NDArray[np.int32]


@dataclass(slots=True)
class Inputs:
    """The frame files by element, the frames in each, and what was found on the way."""

    files: dict[str, Path] = field(default_factory=dict)
    sent: dict[str, list[Sent]] = field(default_factory=dict)
    found: Found = field(default_factory=Found)


def write(raw: RawFile, folder: Path, gain_mv_per_fc: float, displays: Displays, images: int, arrays: QualityWriter) -> Inputs:
    """Write `raw-<element>.npz` for each APA with all its records; what cannot be decoded becomes a problem.

    Missing samples are filled with the channel's pedestal: Wire-Cell takes what is not there for 0 ADC.
    """
    inputs = Inputs()
    with ExitStack() as stack:
        writers: dict[str, NpzWriter] = {}
        for ident, record in enumerate(raw.records, start=1):
            trigger_time: int | None = None
            try:
                header = raw.header(record)
                inputs.found.error_bits.append(header.error_bits)
                inputs.found.timestamps.append(header.timestamp)
                trigger_time = header.timestamp
            except DataError as error:
                _problem(inputs, raw, record, None, error)
            try:
                elements = raw.elements(record)
            except DataError as error:
                _problem(inputs, raw, record, None, error)
                continue
            if not elements:
                inputs.found.problems.append(Problem(record, None, "no TPC data"))
            for element in elements:
                try:
                    block = raw.block(record, element)
                except DataError as error:
                    _problem(inputs, raw, record, element, error)
                    continue
                inputs.found.problems += [Problem(record, element, problem) for problem in block.problems]
                geometry = geometry_of(raw.detector, element, block.channels)
                missing = block.mask if block.mask.any() else None
                pedestals, delivered = pedestal.measure(block.adc, missing)
                adc = block.adc.astype(np.int16)
                if missing is not None:
                    fill = np.nan_to_num(pedestals.median).round().astype(np.int16)
                    adc = np.where(missing, fill[:, None], adc)
                if element not in writers:
                    inputs.files[element] = folder / f"raw-{element}.npz"
                    writers[element] = stack.enter_context(NpzWriter(inputs.files[element]))
                time_ns = 0.0 if trigger_time is None else (block.first_timestamp - trigger_time) * DAQ_TICK_NS
                writers[element].write(f"frame_*_{ident}", adc)
                writers[element].write(f"channels_*_{ident}", block.channels)
                writers[element].write(f"tickinfo_*_{ident}", np.array([time_ns, block.tick_ns, 0.0]))
                quality = inputs.found.qualities.setdefault(
                    element, ElementQuality(geometry, block.channels, block.channel_map, block.tick_ns)
                )
                shown = None
                if quality.n_records < images:
                    widest = max(plane.n_channels for plane in geometry.planes)
                    ticks = displays.ticks_per_pixel(len(elements) * len(block.channels), widest, block.adc.shape[1])
                    shown = RecordImages(quality, arrays, record, ident, ticks, pedestals.sigma)
                    shown.take_waveforms("raw", delivered, block.tick_ns)
                on = resampling.grid(block.adc.shape[1], block.tick_ns)
                samples = resampling.resample(delivered, on)
                gaps = None if missing is None else resampling.resample_mask(missing, on)
                health, _ = noise_filter.measure(samples, gaps, np.isnan(pedestals.median), geometry, gain_mv_per_fc)
                whole = health.good & ~geometry.listed_bad & (pedestals.missing == 0)
                quality.before(samples, pedestals, health, whole, on.n_in)
                quality.after_unseen(health, record, ident)
                inputs.sent.setdefault(element, []).append(
                    Sent(
                        ident,
                        record,
                        block.channels,
                        on.n_out,
                        time_ns,
                        shown,
                        masks.ranges(block.channels, gaps if gaps is not None else np.zeros((len(samples), 1), np.bool_)),
                    )
                )
    return inputs


def _problem(inputs: Inputs, raw: RawFile, record: RecordId, element: str | None, error: DataError) -> None:
    inputs.found.problems.append(Problem(record, element, str(error).removeprefix(f"{raw.path}: ")))
