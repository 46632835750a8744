"""The embedded payload: noise filtering and signal processing with NumPy and SciPy, one APA or CRP of one trigger record at a time.

Memory does not grow with the file: an element's samples are read, processed and written before the next one's.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import ConfigError, DataError
from dune_prompt.records import write_json
from stages.derived import derived_name, write_sidecar
from stages.displays import Displays
from stages.frames import FrameHeader, FrameKey, FrameWriter
from stages.nf_sp import charge, coherent, deconvolution, masks, pedestal
from stages.nf_sp.displays import RecordImages
from stages.nf_sp.geometry import geometry_of
from stages.nf_sp.performance import Stopwatch
from stages.nf_sp.quality import ElementQuality
from stages.nf_sp.quality_file import QualityWriter
from stages.nf_sp.stage import QUALITY, Parameters
from stages.rawdata import RawFile, RecordId
from stages.stage import StageContext, StageResult

DAQ_TICK_NS = 16.0
MAX_PROBLEMS = 200
MAX_PROBLEM_CHARACTERS = 500


class Problem(NamedTuple):
    """Something wrong with a record, or with one of its elements."""

    record: RecordId
    element: str | None
    problem: str


class Writers(NamedTuple):
    """Where the results go: the frames of charge, those of filtered waveforms when they are kept, the arrays of the quality file."""

    gauss: FrameWriter
    filtered: FrameWriter | None
    arrays: QualityWriter


class NumpyPayload:
    """Processes one raw file into frame files; see `run`."""

    def __init__(self, raw: RawFile, parameters: Parameters, displays: Displays, writers: Writers, watch: Stopwatch) -> None:
        self._raw, self._parameters, self._displays, self._writers, self._watch = raw, parameters, displays, writers, watch
        self._records_shown = displays.records_of(raw.attributes.file_index)
        self.qualities: dict[str, ElementQuality] = {}
        self.used: list[RecordId] = []
        self.problems: list[Problem] = []
        self.error_bits: list[int] = []
        self.timestamps: list[int] = []
        self.charge_e = 0.0

    def process(self) -> None:
        """Process all trigger records; what cannot be decoded becomes a problem."""
        for ident, record in enumerate(self._raw.records, start=1):
            trigger_time = self._header(record)
            try:
                with self._watch.step("read"):
                    elements = self._raw.elements(record)
            except DataError as error:
                self._problem(record, None, error)
                continue
            if not elements:
                self.problems.append(Problem(record, None, "no TPC data"))
            bad = []
            for element in elements:
                try:
                    bad.append(self._element(ident, record, element, trigger_time, len(elements)))
                except DataError as error:
                    self._problem(record, element, error)
            if bad:
                self.used.append(record)
                self._writers.gauss.mask("bad", ident, np.concatenate(bad))

    def _header(self, record: RecordId) -> int | None:
        """Take note of the trigger record header, and return the trigger's timestamp; None for a broken one, the data may still be good."""
        try:
            header = self._raw.header(record)
        except DataError as error:
            self._problem(record, None, error)
            return None
        self.error_bits.append(header.error_bits)
        self.timestamps.append(header.timestamp)
        return header.timestamp

    def _problem(self, record: RecordId, element: str | None, error: DataError) -> None:
        self.problems.append(Problem(record, element, str(error).removeprefix(f"{self._raw.path}: ")))

    def _element(self, ident: int, record: RecordId, element: str, trigger_time: int | None, n_elements: int) -> NDArray[np.int32]:
        """Process one of `n_elements` elements of one record, write its frames, and return its channel mask.

        Raises:
            DataError: it cannot be decoded; nothing of it is written then.
        """
        watch, gain = self._watch, self._parameters.gain_mv_per_fc
        with watch.step("read"):
            block = self._raw.block(record, element)
        channels, tick_ns = block.channels, block.tick_ns
        geometry = geometry_of(self._raw.detector, element, channels)
        on = deconvolution.grid(block.adc.shape[1], tick_ns)
        quality = self.qualities.get(element) or ElementQuality(geometry, channels, block.channel_map, tick_ns)
        self.qualities[element] = quality
        self.problems += [Problem(record, element, problem) for problem in block.problems]
        # Without a trigger time the frame starts at 0.
        time_ns = 0.0 if trigger_time is None else (block.first_timestamp - trigger_time) * DAQ_TICK_NS
        missing = block.mask if block.mask.any() else None
        with watch.step("pedestal"):
            pedestals, samples = pedestal.measure(block.adc, missing)
            health = pedestal.classify(pedestals, gain)
        del block  # its ADC values are a third of all memory, and no longer needed
        images = None
        if quality.n_records < self._records_shown:
            widest = max(plane.n_channels for plane in geometry.planes)
            ticks_per_pixel = self._displays.ticks_per_pixel(n_elements * len(channels), widest, samples.shape[1])
            images = RecordImages(quality, self._writers.arrays, record, ident, ticks_per_pixel, pedestals.sigma)
        usable = health.good & ~geometry.listed_bad
        whole = usable & (pedestals.missing == 0)
        with watch.step("quality"):
            quality.before(samples, pedestals, health, whole)
            if images is not None:
                images.take_waveforms("raw", samples)
        with watch.step("noise_filter"):
            samples[~usable] = 0
            common = coherent.remove(samples, pedestals.sigma, usable, missing, geometry.groups, gain)
        with watch.step("quality"):
            quality.after(samples, common, health, whole, record, ident)
            if images is not None:
                images.take_waveforms("nf", samples)
        if self._writers.filtered is not None:
            with watch.step("write"):
                key = FrameKey(f"raw{geometry.anode}", ident)
                self._writers.filtered.write(FrameHeader(key, channels, samples.shape[1], time_ns, tick_ns), [samples])
        with watch.step("signal_processing"):
            electrons = np.empty((len(samples), on.n_out), np.float32)
            for plane in geometry.planes:
                electrons[plane.rows] = charge.of_plane(samples[plane.rows], plane, on, gain)
            masks.blank(electrons, missing, on)
            mask = masks.channel_mask(channels, usable, missing, on)
        with watch.step("quality"):
            self.charge_e += float(electrons.sum(dtype=np.float64))
            quality.charge(samples, electrons, gain)
            if images is not None:
                images.take_charge("sp", electrons)
        with watch.step("write"):
            key = FrameKey(f"gauss{geometry.anode}", ident)
            self._writers.gauss.write(FrameHeader(key, channels, on.n_out, time_ns, deconvolution.TICK_NS), [electrons])
        return mask

    def summary(self, performance: dict[str, Any]) -> dict[str, Any]:
        """The quality file's content: what holds for the whole file."""
        records = self._raw.records
        numbers = [record.number for record in records]
        qualities = sorted(self.qualities.values(), key=lambda quality: quality.geometry.anode)
        bits = 0
        for one in self.error_bits:
            bits |= one
        return {
            "payload": "numpy",
            "gain_mv_per_fc": self._parameters.gain_mv_per_fc,
            "run": self._raw.attributes.run,
            "file_index": self._raw.attributes.file_index,
            "notes": list(dict.fromkeys([*self._raw.file_problems, *(note for quality in qualities for note in quality.geometry.notes)])),
            "records": {
                "n_records": len(records),
                "n_used": len(self.used),
                "n_unusable": len(records) - len(self.used),
                "n_with_error_bits": sum(one != 0 for one in self.error_bits),
                "error_bits": bits,
                "n_problems": len(self.problems),
                "problems": [
                    {
                        "record": problem.record.number,
                        "sequence": problem.record.sequence,
                        "element": problem.element,
                        "problem": problem.problem[:MAX_PROBLEM_CHARACTERS],
                    }
                    for problem in self.problems[:MAX_PROBLEMS]
                ],
                "first_record": min(numbers, default=None),
                "last_record": max(numbers, default=None),
                "first_timestamp": min(self.timestamps, default=None),
                "last_timestamp": max(self.timestamps, default=None),
            },
            "elements": [quality.summary() for quality in qualities],
            "performance": performance,
        }


def run(context: StageContext, parameters: Parameters) -> StageResult:
    """Process `context`'s raw file.

    Raises:
        DataError: the file cannot be read, or none of its trigger records can.
        ConfigError: it is of another detector than the campaign, or the setting of the displays is wrong.
    """
    watch = Stopwatch()
    displays = Displays.of(context.payload)
    path = context.raw_path()
    input_bytes = path.stat().st_size
    data_tier = str(context.payload.outputs["data_tier"])
    gauss = derived_name(context, "gauss", "npz")
    nf = derived_name(context, "nf", "npz") if "nf" in parameters.keep else None
    arrays = derived_name(context, QUALITY, "npz")
    with ExitStack() as stack:
        with watch.step("read"):
            raw = stack.enter_context(RawFile.open(path))
        if raw.detector != context.payload.detector:
            raise ConfigError(
                f"{path}: a file of {raw.detector}, but campaign {context.payload.campaign} is for {context.payload.detector}"
            )
        writers = Writers(
            stack.enter_context(FrameWriter(context.output_dir / gauss)),
            None if nf is None else stack.enter_context(FrameWriter(context.output_dir / nf)),
            stack.enter_context(QualityWriter(context.output_dir / arrays)),
        )
        payload = NumpyPayload(raw, parameters, displays, writers, watch)
        payload.process()
        if not payload.used:
            raise DataError(f"{path}: none of {len(raw.records)} trigger records can be used: {_reasons(payload.problems)}")
        with watch.step("write"):
            for element, quality in payload.qualities.items():
                for name, content in quality.arrays().items():
                    writers.arrays.write(element, name, content)
    outputs = {gauss: "gauss"} | ({nf: "nf"} if nf is not None else {})
    with watch.step("write"):
        for name, what in outputs.items():
            write_sidecar(context, name, what=what, data_tier=data_tier, file_format="npz", extra=_contents(payload.used, raw.records))
    summary = payload.summary(watch.summary(input_bytes))
    numbers = derived_name(context, QUALITY, "json")
    write_json(context.output_dir / numbers, summary)
    return StageResult((*outputs, arrays, numbers), _metrics(payload, summary))


def _contents(used: list[RecordId], records: tuple[RecordId, ...]) -> dict[str, Any]:
    """Metadata that differ from the raw file's: the events that are in the output, and which record each ident is."""
    events = sorted({record.number for record in used})
    return {
        "core.event_count": len(events),
        "core.events": events,
        "core.first_event_number": events[0],
        "core.last_event_number": events[-1],
        "dune.trigger_records": [record.number for record in records],
        "dune.trigger_sequences": [record.sequence for record in records],
    }


def _reasons(problems: list[Problem]) -> str:
    """The first few problems in one line."""
    texts = dict.fromkeys(f"{problem.element or 'record'}: {problem.problem}" for problem in problems)
    return "; ".join(text[:MAX_PROBLEM_CHARACTERS] for text in list(texts)[:3]) or "the file has none"


def _metrics(payload: NumpyPayload, summary: dict[str, Any]) -> dict[str, Any]:
    records, performance = summary["records"], summary["performance"]
    return {
        "payload": "numpy",
        "gain_mv_per_fc": summary["gain_mv_per_fc"],
        "n_records": records["n_records"],
        "records_unusable": records["n_unusable"],
        "unusable_because": _reasons(payload.problems) if records["n_unusable"] else None,
        "n_problems": records["n_problems"],
        "n_elements": len(summary["elements"]),
        "channel_map": ", ".join(sorted({element["channel_map"] for element in summary["elements"]})),
        "validated": not any(quality.geometry.notes for quality in payload.qualities.values()),
        "charge_e": payload.charge_e,
        "input_bytes": performance["input_bytes"],
        "wall_s": performance["wall_s"],
        "mb_per_s": performance["mb_per_s"],
        "rss_bytes": performance["rss_bytes"],
    } | {f"cpu_s_{step}": seconds for step, seconds in performance["cpu_s_by_step"].items()}
