"""What one process does: some of a file's trigger records, one APA or CRP after the other, into a frame file and a file of arrays.

Memory does not grow with the file: an element's samples are read, processed and written before the next one's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import DataError
from stages.displays import Displays
from stages.frames import FrameHeader, FrameKey, FrameWriter
from stages.memory import peak_rss_bytes
from stages.nf_sp import masks, noise_filter, pedestal, resampling, signal_processing
from stages.nf_sp import response as model
from stages.nf_sp.displays import RecordImages
from stages.nf_sp.geometry import ElementGeometry, geometry_of
from stages.nf_sp.parameters import Parameters
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.quality import ElementQuality
from stages.nf_sp.quality_file import QualityWriter
from stages.nf_sp.statistics import Samples
from stages.rawdata import RawFile, RecordId

DAQ_TICK_NS = 16.0
PIECE_ROWS = 64


class Problem(NamedTuple):
    """Something wrong with a record, or with one of its elements."""

    record: RecordId
    element: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is to do: records `first` to `last` (places in the file, from 1, both included) of the raw file, into the given files.

    `nf` None: the filtered waveforms are not kept. `images` of event displays are taken of so many usable records.
    """

    raw: Path
    first: int
    last: int
    parameters: Parameters
    displays: Displays
    images: int
    gauss: Path
    arrays: Path
    nf: Path | None


@dataclass(slots=True)
class Found:
    """What a process found in its records."""

    qualities: dict[str, ElementQuality] = field(default_factory=dict)
    used: list[RecordId] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    error_bits: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    charge_e: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    rss_bytes: int = 0

    def add(self, later: Found) -> None:
        """Take over what was found in later records."""
        for element, quality in later.qualities.items():
            if element in self.qualities:
                self.qualities[element].merge(quality)
            else:
                self.qualities[element] = quality
        self.used += later.used
        self.problems += later.problems
        self.error_bits += later.error_bits
        self.timestamps += later.timestamps
        self.charge_e += later.charge_e
        for step, seconds in later.cpu_s.items():
            self.cpu_s[step] = self.cpu_s.get(step, 0.0) + seconds
        self.rss_bytes += later.rss_bytes


def process(order: Order, progress: Callable[[], None]) -> Found:
    """Carry out `order`; `progress` is called after each record.

    Raises:
        DataError: the file cannot be read. ConfigError: the setting `response` is wrong.
    """
    watch = Stopwatch()
    with ExitStack() as stack:
        with watch.step("read"):
            raw = stack.enter_context(RawFile.open(order.raw))
        part = _Part(
            raw,
            order,
            stack.enter_context(FrameWriter(order.gauss)),
            None if order.nf is None else stack.enter_context(FrameWriter(order.nf)),
            stack.enter_context(QualityWriter(order.arrays)),
            watch,
        )
        for ident, record in enumerate(raw.records[order.first - 1 : order.last], start=order.first):
            part.record(ident, record)
            progress()
    part.found.cpu_s, part.found.rss_bytes = watch.cpu_s, peak_rss_bytes()
    return part.found


class _Part:
    def __init__(
        self, raw: RawFile, order: Order, gauss: FrameWriter, filtered: FrameWriter | None, arrays: QualityWriter, watch: Stopwatch
    ) -> None:
        self._raw, self._order, self._gauss, self._nf, self._arrays, self._watch = raw, order, gauss, filtered, arrays, watch
        self.found = Found()

    def record(self, ident: int, record: RecordId) -> None:
        """Process one record; what cannot be decoded becomes a problem."""
        trigger_time = self._header(record)
        try:
            with self._watch.step("read"):
                elements = self._raw.elements(record)
        except DataError as error:
            self._problem(record, None, error)
            return
        if not elements:
            self.found.problems.append(Problem(record, None, "no TPC data"))
        bad = []
        for element in elements:
            try:
                bad.append(self._element(ident, record, element, trigger_time, len(elements)))
            except DataError as error:
                self._problem(record, element, error)
        if bad:
            self.found.used.append(record)
            self._gauss.mask("bad", ident, np.concatenate(bad))

    def _header(self, record: RecordId) -> int | None:
        """Take note of the trigger record header, and return the trigger's timestamp; None for a broken one, the data may still be good."""
        try:
            header = self._raw.header(record)
        except DataError as error:
            self._problem(record, None, error)
            return None
        self.found.error_bits.append(header.error_bits)
        self.found.timestamps.append(header.timestamp)
        return header.timestamp

    def _problem(self, record: RecordId, element: str | None, error: DataError) -> None:
        self.found.problems.append(Problem(record, element, str(error).removeprefix(f"{self._raw.path}: ")))

    def _element(self, ident: int, record: RecordId, element: str, trigger_time: int | None, n_elements: int) -> NDArray[np.int32]:
        """Process one of `n_elements` elements of one record, write its frames, and return its channel mask.

        Raises:
            DataError: it cannot be decoded; nothing of it is written then.
        """
        watch, gain = self._watch, self._order.parameters.gain_mv_per_fc
        with watch.step("read"):
            block = self._raw.block(record, element)
        channels, tick_ns, channel_map = block.channels, block.tick_ns, block.channel_map
        geometry = geometry_of(self._raw.detector, element, channels)
        on = resampling.grid(block.adc.shape[1], tick_ns)
        self.found.problems += [Problem(record, element, problem) for problem in block.problems]
        # Without a trigger time the frame starts at 0.
        time_ns = 0.0 if trigger_time is None else (block.first_timestamp - trigger_time) * DAQ_TICK_NS
        missing = block.mask if block.mask.any() else None
        with watch.step("pedestal"):
            pedestals, delivered = pedestal.measure(block.adc, missing)
        # Its ADC values are a third of all memory, and no longer needed.
        del block
        quality = self.found.qualities.setdefault(element, ElementQuality(geometry, channels, channel_map, tick_ns))
        images = None
        if quality.n_records < self._order.images:
            widest = max(plane.n_channels for plane in geometry.planes)
            ticks_per_pixel = self._order.displays.ticks_per_pixel(n_elements * len(channels), widest, on.n_in)
            images = RecordImages(quality, self._arrays, record, ident, ticks_per_pixel, pedestals.sigma)
            with watch.step("quality"):
                images.take_waveforms("raw", delivered, tick_ns)
        with watch.step("resampling"):
            samples = resampling.resample(delivered, on)
            del delivered
            gaps = None if missing is None else resampling.resample_mask(missing, on)
        with watch.step("noise_filter"):
            health, noise = noise_filter.measure(samples, gaps, np.isnan(pedestals.median), geometry, gain)
        whole = health.good & ~geometry.listed_bad & (pedestals.missing == 0)
        with watch.step("quality"):
            quality.before(samples, pedestals, health, whole, on.n_in)
        with watch.step("noise_filter"):
            filtered = noise_filter.clean(samples, gaps, health, noise, geometry, gain)
        with watch.step("quality"):
            quality.after(samples, filtered, health, whole, record, ident)
            if images is not None:
                images.take_waveforms("nf", samples, resampling.TICK_NS)
        if self._nf is not None:
            with watch.step("write"):
                self._nf.write(_header("raw", geometry, ident, channels, on.n_out, time_ns), _pieces(samples))
        gauss = np.empty((len(samples), on.n_out), np.float32)
        wiener, threshold = np.empty_like(gauss), np.empty(len(samples), np.float32)
        clipped_e = []
        for plane in geometry.planes:
            rows = plane.rows
            response = self._order.parameters.response or model.PDHD
            charge = signal_processing.of_plane(samples[rows], filtered.masked[rows], plane, gain, response, watch)
            gauss[rows], wiener[rows], threshold[rows] = charge.gauss, charge.wiener, charge.noise_e
            clipped_e.append(charge.clipped_e)
        with watch.step("quality"):
            self.found.charge_e += float(gauss.sum(dtype=np.float64))
            quality.charge(samples, gauss, threshold, clipped_e, gain)
            if images is not None:
                images.take_charge("sp", gauss)
        del samples
        with watch.step("write"):
            self._write("gauss", geometry, ident, channels, time_ns, gauss)
            self._write("wiener", geometry, ident, channels, time_ns, wiener, threshold)
            return masks.ranges(channels, filtered.masked)

    def _write(
        self,
        tag: str,
        geometry: ElementGeometry,
        ident: int,
        channels: NDArray[np.int32],
        time_ns: float,
        rows: Samples,
        summary: Samples | None = None,
    ) -> None:
        self._gauss.write(_header(tag, geometry, ident, channels, rows.shape[1], time_ns), _pieces(rows), summary)


def _header(tag: str, geometry: ElementGeometry, ident: int, channels: NDArray[np.int32], n_ticks: int, time_ns: float) -> FrameHeader:
    return FrameHeader(FrameKey(f"{tag}{geometry.anode}", ident), channels, n_ticks, time_ns, resampling.TICK_NS)


def _pieces(rows: Samples) -> Iterator[Samples]:
    """The rows some at a time: compressed whole, they would be in memory twice."""
    return (rows[begin : begin + PIECE_ROWS] for begin in range(0, len(rows), PIECE_ROWS))
