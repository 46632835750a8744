"""Makes simulated raw files with their sidecars, and puts them into a folder the way the data acquisition does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from dune_prompt.errors import ConfigError
from dune_prompt.records import SIDECAR_SUFFIX, write_json
from stages.rawdata.channel_map import DEFAULT_MAP, Element, channel_map
from stages.rawdata.faults import FAULTS, Fault
from stages.rawdata.faults import fault as find_fault
from stages.rawdata.file_name import RawFileName
from stages.rawdata.frames import CLOCKS, FRAME_SAMPLES
from stages.rawdata.metadata import describe, sam_sidecar
from stages.rawdata.structures import DTS_TICKS_PER_S
from stages.rawdata.waveforms import Defects, simulate
from stages.rawdata.writer import Alter, FileSpec, RecordContent, write_raw_file

__all__ = ["FAULTS", "RunSpec", "generate_file"]

_ENVIRONMENT = {"pdhd": "np04hd", "pdvd": "np02vd"}
_WRITER = {"pdhd": ("dataflow{0}", "datawriter_0"), "pdvd": ("df-s04-d{0}", "dw_0")}
SidecarForm = Literal["metacat", "sam", "none"]


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a simulated run is like.

    Each file has `records` trigger records of `elements` APAs or CRPs (their names, or how many in offline order) with `frames`
    frames of 64 ticks; in CRPs with TDEEth as many as fit the same time. `tracks` is the mean number per record and APA. The same
    specification and file index give the same ADC values.
    """

    detector: str = "pdhd"
    run: int = 27296
    records: int = 1
    elements: int | tuple[str, ...] = 1
    frames: int = 93
    seed: int = 1
    layout_version: int = 5
    dataflow: int = 0
    data_stream: str = "cosmics"
    test_run: bool = False
    tracks: float = 8.0
    dead_channels: int = 4
    noisy_channels: int = 4
    trigger_rate_hz: float = 1.0
    sidecar: SidecarForm = "metacat"

    def __post_init__(self) -> None:
        if self.detector not in _ENVIRONMENT:
            raise ConfigError(f"no detector {self.detector!r}; there are: {', '.join(_ENVIRONMENT)}")
        names = tuple(element.name for element in channel_map(DEFAULT_MAP[self.detector]).elements)
        wanted = names[: self.elements] if isinstance(self.elements, int) else self.elements
        if not wanted or len(wanted) != (self.elements if isinstance(self.elements, int) else len(set(wanted) & set(names))):
            raise ConfigError(f"{self.elements} APAs or CRPs: {self.detector} has 1 to {len(names)}: {', '.join(names)}")
        if self.records < 1 or self.frames < 1 or self.trigger_rate_hz <= 0:
            raise ConfigError("records, frames and the trigger rate must be at least 1, 1 and more than 0")


def generate_file(folder: Path, spec: RunSpec, file_index: int, *, fault: str | None = None, now: float) -> Path:
    """Write file `file_index` of a run into `folder`, with its sidecar, and return its path.

    The file is called `<name>.writing` until it is closed at time `now` (seconds since the epoch); the sidecar appears after it, whole.

    Raises:
        ConfigError: no such fault.
    """
    broken = None if fault is None else find_fault(fault)
    created_ms = round(1000 * (now - spec.records / spec.trigger_rate_hz))
    application, writer = (part.format(spec.dataflow) for part in _WRITER[spec.detector])
    created = datetime.fromtimestamp(created_ms // 1000, UTC)
    name = str(RawFileName(_ENVIRONMENT[spec.detector], "raw", spec.run, file_index, f"{application}_{writer}", created))
    closed = broken is None or broken.closed
    file_spec = FileSpec(
        detector=spec.detector,
        run=spec.run,
        file_index=file_index,
        created_ms=created_ms,
        closed_ms=round(1000 * now) if closed else None,
        layout_version=spec.layout_version,
        application=application,
        operational_environment=_ENVIRONMENT[spec.detector],
        data_stream=spec.data_stream,
        test_run=spec.test_run,
    )
    path = folder / name
    draft = path.with_name(name + ".writing")
    write_raw_file(draft, file_spec, _records(spec, file_index, created_ms), alter=_alter(spec, file_index, broken))
    record = describe(draft, name)
    if broken is not None:
        broken.damage(draft)
    draft.replace(path)
    if spec.sidecar != "none":
        write_json(path.with_name(name + SIDECAR_SUFFIX), record.to_json() if spec.sidecar == "metacat" else sam_sidecar(record))
    return path


def _elements(spec: RunSpec) -> tuple[Element, ...]:
    elements = channel_map(DEFAULT_MAP[spec.detector]).elements
    if isinstance(spec.elements, int):
        return elements[: spec.elements]
    return tuple(element for element in elements if element.name in spec.elements)


def _records(spec: RunSpec, file_index: int, created_ms: int) -> Iterator[RecordContent]:
    channels = channel_map(DEFAULT_MAP[spec.detector])
    readout_ticks = spec.frames * CLOCKS[_elements(spec)[0].fragment_type].frame_ticks
    for index in range(spec.records):
        number = _first_record(spec, file_index) + index
        timestamp = round((created_ms / 1000 + index / spec.trigger_rate_hz) * DTS_TICKS_PER_S)
        adc = {}
        for element in _elements(spec):
            random = np.random.Generator(np.random.SFC64([spec.seed, spec.run, number, element.first_channel]))
            # Defects stay the same through the run.
            defects_random = np.random.Generator(np.random.SFC64([spec.seed, spec.run, element.first_channel]))
            defects = Defects.draw(element.n_channels, spec.dead_channels, spec.noisy_channels, defects_random)
            n_ticks = readout_ticks // CLOCKS[element.fragment_type].frame_ticks * FRAME_SAMPLES
            adc[element.name] = simulate(channels, element, n_ticks, spec.tracks, defects, random)
        yield RecordContent(number, timestamp, timestamp - readout_ticks // 12 // 32 * 32, adc)


def _first_record(spec: RunSpec, file_index: int) -> int:
    return file_index * spec.records + 1


def _alter(spec: RunSpec, file_index: int, broken: Fault | None) -> Alter | None:
    if broken is None:
        return None
    streams = [stream for element in _elements(spec) for stream in element.streams]
    chosen = np.random.default_rng([spec.seed, spec.run, file_index]).integers(len(streams))
    return broken.alter(_first_record(spec, file_index), streams[chosen].source_id)
