"""Reads raw files of ProtoDUNE-HD and ProtoDUNE-VD: DUNE-DAQ HDF5, file layouts 3 to 7, WIBEth and TDEEth frames.

    with RawFile.open(path) as raw:
        for record in raw.records:
            for element in raw.elements(record):
                block = raw.block(record, element)      # block.adc[channel, tick]

One APA or CRP of one trigger record is in memory at a time. Nothing is guessed silently: what is missing or cannot be believed is masked,
and named in the block's `problems`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from dune_prompt.errors import ConfigError, DataError
from stages.rawdata.attributes import FileAttributes, detector_of, read_attributes
from stages.rawdata.channel_map import DEFAULT_MAP, ChannelMap, Element, Stream, channel_map
from stages.rawdata.file_name import RawFileName
from stages.rawdata.fragment import Fragment, FragmentSource, inspect, locate
from stages.rawdata.frames import CLOCKS, FRAME_BYTES, FRAME_SAMPLES, Unpacker
from stages.rawdata.hdf5_file import ByteDataset, hdf5_errors, list_datasets, names_in, open_hdf5, read_bytes
from stages.rawdata.placement import Placement, place
from stages.rawdata.problems import Problems, ranges
from stages.rawdata.structures import FRAGMENT_HEADER_BYTES, TPC_FRAGMENT_TYPES, Subsystem, TriggerHeader

_RECORD = re.compile(r"TriggerRecord(\d+)(?:\.(\d+))?")
_DATASET = re.compile(r"(?P<subsystem>\w+?)_0x(?P<id>[0-9a-fA-F]{8,})_(?P<type>\w+)")
_HEADER = "TriggerRecordHeader"
_LARGEST_DATASET = 1 << 30  # nearly 5 s of one stream; keeps a broken file from asking for all memory


class RecordId(NamedTuple):
    """A trigger record: trigger number, and sequence number within a readout that was split."""

    number: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.number}.{self.sequence}"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One APA or CRP of one trigger record.

    `adc` [channel, tick], uint16, in offline order (`channels`); 0 where `mask` is True: missing, misaligned or unusable. The first
    sample was taken at `first_timestamp` (DTS ticks of 16 ns), the others follow every `tick_ns`. `problems` says what was wrong.
    """

    record: RecordId
    element: str
    adc: NDArray[np.uint16]
    channels: NDArray[np.int32]
    mask: NDArray[np.bool_]
    first_timestamp: int
    tick_ns: float
    problems: tuple[str, ...]
    channel_map: str


@dataclass(frozen=True, slots=True)
class ElementSummary:
    """What a trigger record has of one APA or CRP: fragments found and expected, length in ticks, and the fraction that is masked."""

    element: str
    n_fragments: int
    n_expected: int
    n_ticks: int
    masked: float


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """A trigger record without its ADC values. `fragments` counts datasets by type; usable: at least one APA or CRP has good frames."""

    record: RecordId
    fragments: dict[str, int]
    elements: tuple[ElementSummary, ...]
    problems: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return any(element.n_ticks for element in self.elements)


class _Readout(NamedTuple):
    """A stream that sent a fragment, and the fragment's dataset."""

    stream: Stream
    source: FragmentSource


@dataclass(frozen=True, slots=True)
class _Contents:
    """The datasets of one trigger record, sorted out: `elements` has the readout of each APA or CRP."""

    header: ByteDataset | None
    fragments: dict[str, int]
    elements: dict[str, list[_Readout]]
    problems: tuple[str, ...]


class RawFile:
    """An open raw file; use `RawFile.open` in a `with` statement."""

    def __init__(self, path: Path, file: h5py.File, map_name: str | None) -> None:
        self.path = path
        self._file = file
        self.attributes: FileAttributes = read_attributes(file, path)
        detector = detector_of(self.attributes)
        if detector is None:
            raise DataError(f"{path}: operational environment {self.attributes.operational_environment!r} is no known detector")
        self.detector: str = detector
        self.channel_map: ChannelMap = channel_map(map_name or DEFAULT_MAP[detector])
        if self.channel_map.detector != detector:
            raise ConfigError(
                f"{path}: channel map {self.channel_map.name} is one of {self.channel_map.detector}, the file is of {detector}"
            )
        self._groups = self._find_records()
        self.records: tuple[RecordId, ...] = tuple(sorted(self._groups))
        self._contents: tuple[RecordId, _Contents] | None = None
        self._buffer = np.empty(0, np.uint8)

    @classmethod
    def open(cls, path: Path, map_name: str | None = None) -> Self:
        """Open a raw file with the channel map `map_name` (default: the detector's).

        Raises:
            DataError: not HDF5, truncated, not a raw file of a known layout and detector, or without trigger records.
            TransientError: the file system does not give it.
            ConfigError: no such channel map, or one of another detector.
        """
        file = open_hdf5(path)
        try:
            return cls(path, file, map_name)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    @property
    def file_problems(self) -> tuple[str, ...]:
        """What is wrong with the file as a whole, though it can be read."""
        found = []
        if self.attributes.closed_ms is None:
            found.append("never closed (no closing_timestamp): the last trigger records may be missing")
        try:
            name = RawFileName.parse(self.path.name)
        except DataError:
            return tuple(found)
        run, index = self.attributes.run, self.attributes.file_index
        if (name.run, name.index) != (run, index):
            found.append(f"its name says run {name.run}, file {name.index}; its attributes say run {run}, file {index}")
        return tuple(found)

    def header(self, record: RecordId) -> TriggerHeader:
        """The trigger record header.

        Raises:
            DataError: it is missing or broken.
        """
        dataset = self._sort_out(record).header
        where = f"{self.path}: {self._groups[record]}"
        if dataset is None:
            raise DataError(f"{where}: no trigger record header")
        data = self._scratch(dataset.size_bytes)
        read_bytes(self._file, dataset, data)
        return TriggerHeader.unpack(data.data, f"{where}: {dataset.name}")

    def elements(self, record: RecordId) -> tuple[str, ...]:
        """The APAs or CRPs with TPC fragments in `record`, in order of offline channel."""
        return tuple(self._sort_out(record).elements)

    def block(self, record: RecordId, element: str) -> Block:
        """Unpack one APA or CRP of `record`.

        Raises:
            DataError: it has no usable frame.
            TransientError: the file system does not give it.
        """
        problems = Problems()
        apa = self.channel_map.element(element)
        readout = self._sort_out(record).elements.get(element, [])
        fragments, placement = self._look(record, apa, readout, problems)
        if placement is None:
            first = next(iter(problems.lines()), "")
            raise DataError(f"{self.path}: {self._groups[record]}: {element}: no usable frame in {len(fragments)} fragments ({first})")
        adc = np.empty((apa.n_channels, placement.n_ticks), np.uint16)
        mask = np.zeros(adc.shape, np.bool_)
        for stream in _silent(apa, readout):
            rows = stream.channels - apa.first_channel
            adc[rows], mask[rows] = 0, True
        unpacker = Unpacker(max(fragment.good.size for fragment in fragments))
        for (stream, source), runs, gaps in zip(readout, placement.runs, placement.gaps, strict=True):
            rows = stream.channels - apa.first_channel
            if runs:
                frames = self._scratch(source.n_frames * FRAME_BYTES)
                read_bytes(self._file, source.dataset, frames, FRAGMENT_HEADER_BYTES)
                unpacked = unpacker.unpack(frames.reshape(-1, FRAME_BYTES))
                for run in runs:
                    adc[rows, run.tick : run.end] = unpacked[:, run.first * FRAME_SAMPLES : run.last * FRAME_SAMPLES]
            for begin, end in gaps:
                adc[rows, begin:end], mask[rows, begin:end] = 0, True
        return Block(
            record=record,
            element=element,
            adc=adc,
            channels=apa.channels,
            mask=mask,
            first_timestamp=placement.first_timestamp,
            tick_ns=CLOCKS[apa.fragment_type].tick_ns,
            problems=problems.lines(),
            channel_map=self.channel_map.name,
        )

    def problems(self, record: RecordId) -> tuple[str, ...]:
        """What is wrong with `record`: all that `block` would find, without unpacking."""
        return self.summary(record).problems

    def summary(self, record: RecordId) -> RecordSummary:
        """What `record` holds and what is wrong with it, without unpacking; headers and timestamps of all frames are read."""
        lines: list[str] = []
        try:
            contents = self._sort_out(record)
        except DataError as error:
            return RecordSummary(record, {}, (), (self._within(error),))
        try:
            header = self.header(record)
            if header.error_bits:
                lines.append(f"trigger record header: error bits 0x{header.error_bits:x}")
            if header.trigger_number != record.number:
                lines.append(f"trigger record header: trigger {header.trigger_number}, the group says {record.number}")
            lines.extend(self._unanswered(record, header))
        except DataError as error:
            lines.append(self._within(error))
        lines.extend(contents.problems)
        if not contents.elements:
            lines.append("no TPC fragments")
        elements = []
        for name, readout in contents.elements.items():
            problems = Problems()
            element = self.channel_map.element(name)
            _, placement = self._look(record, element, readout, problems)
            lines.extend(f"{name}: {line}" for line in problems.lines())
            expected = len(element.streams)
            if placement is None:
                lines.append(f"{name}: no usable frame")
                elements.append(ElementSummary(name, len(readout), expected, 0, 1.0))
                continue
            total = expected * placement.n_ticks
            masked = (total - sum(run.end - run.tick for runs in placement.runs for run in runs)) / total
            elements.append(ElementSummary(name, len(readout), expected, placement.n_ticks, masked))
        return RecordSummary(record, contents.fragments, tuple(elements), tuple(lines))

    def _find_records(self) -> dict[RecordId, str]:
        if self.attributes.record_type != "TriggerRecord":
            raise DataError(f"{self.path}: holds records of type {self.attributes.record_type}, no trigger records")
        with hdf5_errors(self.path):
            names = names_in(self._file)
        matches = [match for name in names if (match := _RECORD.fullmatch(name))]
        if not matches:
            raise DataError(f"{self.path}: no trigger records")
        return {RecordId(int(match[1]), int(match[2] or 0)): match[0] for match in matches}

    def _sort_out(self, record: RecordId) -> _Contents:
        """List the datasets of `record` and find the APA or CRP of each TPC fragment; the last record's answer is kept."""
        if self._contents is not None and self._contents[0] == record:
            return self._contents[1]
        if record not in self._groups:
            raise DataError(f"{self.path}: no trigger record {record}")
        group = f"{self._groups[record]}/RawData"
        with hdf5_errors(self.path, group):
            datasets = list_datasets(self._file[group])
        problems = Problems()
        fragments: Counter[str] = Counter()
        found: dict[str, list[_Readout]] = {}
        for dataset in datasets:
            name = _DATASET.fullmatch(dataset.name)
            if name is None:
                problems.add(f"{dataset.name}: not the name of a fragment; ignored")
                continue
            if name["type"] == _HEADER:
                continue
            fragments[name["type"]] += 1
            fragment_type = TPC_FRAGMENT_TYPES.get(name["type"])
            if fragment_type is None or name["subsystem"] != "Detector_Readout":
                continue
            source = FragmentSource(dataset, fragment_type, int(name["id"], 16))
            places = self.attributes.source_geo_map.get(source.source_id, ())
            addresses = locate(self._file, source, places)
            matches = [match for address in addresses if (match := self.channel_map.find(address))]
            if not matches:
                at = addresses[0] if addresses else "a fragment without frames"
                problems.of(dataset.name, source.source_id, f"{at} is not in channel map {self.channel_map.name}; not used")
                continue
            element, stream = matches[0]
            if places and stream.address[1:] not in {place[1:] for place in places}:
                problems.of(dataset.name, source.source_id, f"its frames are of {stream.address}, the file's map of sources says otherwise")
            readout = found.setdefault(element.name, [])
            if any(other is stream for other, _ in readout):
                problems.of(dataset.name, source.source_id, f"a second fragment of {stream.address}; not used")
                continue
            readout.append(_Readout(stream, source))
        elements = {element.name: found[element.name] for element in self.channel_map.elements if element.name in found}
        contents = _Contents(self._find_header(record, datasets), dict(fragments), elements, problems.lines())
        self._contents = (record, contents)
        return contents

    def _find_header(self, record: RecordId, datasets: tuple[ByteDataset, ...]) -> ByteDataset | None:
        """The header's dataset: the one `record_header_source_id` names, else any whose name ends as a header's."""
        headers = [dataset for dataset in datasets if dataset.name.endswith(f"_{_HEADER}")]
        if len(headers) > 1:
            with suppress(DataError), hdf5_errors(self.path, self._groups[record]):
                source = json.loads(self._file[self._groups[record]].attrs["record_header_source_id"])
                wanted = f"_0x{source['id']:08x}_{_HEADER}"
                headers.sort(key=lambda dataset: not dataset.name.endswith(wanted))
        return headers[0] if headers else None

    def _look(
        self, record: RecordId, element: Element, readout: Sequence[_Readout], problems: Problems
    ) -> tuple[list[Fragment], Placement | None]:
        """Inspect the fragments of `element` and place their frames; both are in the order of `readout`."""
        if silent := [stream.source_id for stream in _silent(element, readout)]:
            plural = "s" if len(silent) > 1 else ""
            problems.add(f"{len(silent)} of {len(element.streams)} fragments missing (source id{plural} {ranges(silent)})")
        fragments = [
            inspect(self._file, source, stream.address, record.number, self._scratch(source.dataset.size_bytes), problems)
            for stream, source in readout
        ]
        return fragments, place(fragments, CLOCKS[element.fragment_type], problems)

    def _unanswered(self, record: RecordId, header: TriggerHeader) -> list[str]:
        """Detector readout the trigger asked for that sent nothing from an APA or CRP with no fragment at all."""
        asked = {item.source_id for item in header.components if item.subsystem == Subsystem.DETECTOR_READOUT}
        there = self._sort_out(record).elements
        lines = []
        for element in self.channel_map.elements:
            count = sum(stream.source_id in asked for stream in element.streams)
            if count and element.name not in there:
                lines.append(f"{element.name}: no fragments, {count} were requested")
        return lines

    def _within(self, error: DataError) -> str:
        """The message of an error of this file, without the file's name."""
        return str(error).removeprefix(f"{self.path}: ")

    def _scratch(self, size_bytes: int) -> NDArray[np.uint8]:
        if size_bytes > _LARGEST_DATASET:
            raise DataError(f"{self.path}: a dataset claims {size_bytes} bytes, more than any fragment has")
        if self._buffer.size < size_bytes:
            self._buffer = np.empty(size_bytes, np.uint8)
        return self._buffer[:size_bytes]


def _silent(element: Element, readout: Sequence[_Readout]) -> list[Stream]:
    """The streams of an APA or CRP that sent no fragment."""
    there = {stream.source_id for stream, _ in readout}
    return [stream for stream in element.streams if stream.source_id not in there]
