"""Writes raw files as the data acquisition does: given ADC values become DUNE-DAQ HDF5, bit for bit.

Source: DUNE-DAQ hdf5libs HDF5RawDataFile.cpp and HDF5FileLayout.cpp, daqdataformats, fddetdataformats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stages.rawdata.attributes import GeoId
from stages.rawdata.channel_map import DEFAULT_MAP, ChannelMap, Stream, channel_map
from stages.rawdata.frames import ADC_MAX, CLOCKS, FRAME_BYTES, FRAME_SAMPLES, daq_words, frame_headers, pack
from stages.rawdata.structures import (
    FRAGMENT_HEADER_BYTES,
    FRAGMENT_MARKER,
    TPC_FRAGMENT_TYPES,
    ComponentRequest,
    DetectorId,
    FragmentHeader,
    FragmentType,
    Subsystem,
    TriggerHeader,
)

# The readout window does not start and end with frames: this many DTS ticks of the first and of the last are outside.
_OUTSIDE_WINDOW = 1000

_TYPE_NAMES = {number: name for name, number in TPC_FRAGMENT_TYPES.items()}
_FRAGMENT_VERSION = 5
_SOURCE_ID_VERSION = 2
_DATA_NOT_FOUND = 1


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What the attributes of a raw file say, and which layout it has. `closed_ms` None: the file is never closed."""

    detector: str
    run: int
    file_index: int
    created_ms: int
    closed_ms: int | None
    layout_version: int = 5
    application: str = "dataflow0"
    operational_environment: str = "np04hd"
    data_stream: str = "cosmics"
    test_run: bool = False
    record_digits: int = 5
    map_name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RecordContent:
    """One trigger record: for each APA or CRP `adc` [channel, tick] in offline order, 14 bits, whole frames of 64 ticks.

    `timestamp` of the trigger and `first_timestamp` of the first sample in DTS ticks.
    """

    number: int
    timestamp: int
    first_timestamp: int
    adc: Mapping[str, NDArray[np.uint16]]
    sequence: int = 0
    max_sequence: int = 0
    trigger_type: int = 1 << 3
    error_bits: int = 0


@dataclass(slots=True, eq=False)
class FragmentDraft:
    """A TPC fragment before it is written: header and frames [n, 7200]; a fault changes it."""

    stream: Stream
    header: FragmentHeader
    frames: NDArray[np.uint8]


# Sees every TPC fragment before it is written, with the record's number; gives back what is to be written, None for nothing.
Alter = Callable[[int, FragmentDraft], FragmentDraft | None]


def write_raw_file(path: Path, spec: FileSpec, records: Iterable[RecordContent], *, alter: Alter | None = None) -> None:
    """Write a raw file to `path`; one record is in memory at a time when `records` is lazy.

    Raises:
        ValueError: ADC values of more than 14 bits, of another number of channels, or not in whole frames.
    """
    with h5py.File(path, "w") as file:
        _write_opening(file, spec)
        writer = _Writer(file, spec, alter)
        for record in records:
            writer.write(record)
        file.attrs["source_id_geo_id_map"] = _geo_map(writer.sources)
        if spec.closed_ms is not None:
            file.attrs["closing_timestamp"] = _time(spec, spec.closed_ms)
            file.attrs["recorded_size"] = np.uint64(writer.recorded_bytes)


def _write_opening(file: h5py.File, spec: FileSpec) -> None:
    attrs = file.attrs
    attrs["run_number"] = np.uint32(spec.run)
    attrs["file_index"] = np.uint64(spec.file_index)
    attrs["creation_timestamp"] = _time(spec, spec.created_ms)
    attrs["application_name"] = spec.application
    attrs["filelayout_params"] = _layout_params(spec)
    attrs["filelayout_version"] = np.uint32(spec.layout_version)
    attrs["record_type"] = "TriggerRecord"
    attrs["operational_environment"] = spec.operational_environment
    if spec.layout_version >= 5:
        attrs["offline_data_stream"] = spec.data_stream
        attrs["run_was_for_test_purposes"] = str(spec.test_run).lower()


def _time(spec: FileSpec, milliseconds: int) -> str | np.uint64:
    return str(milliseconds) if spec.layout_version < 6 else np.uint64(milliseconds)


def _layout_params(spec: FileSpec) -> str:
    # The paths are a relic of layouts before 3, but every file has them.
    groups = (
        ("TPC", "Detector_Readout", "Link"),
        ("PDS", "Detector_Readout", "Element"),
        ("NDLArTPC", "Detector_Readout", "Element"),
        ("NDLArPDS", "Detector_Readout", "Element"),
        ("DataSelection", "Trigger", "Element"),
        ("HSI", "HW_Signals_Interface", "Element"),
    )
    paths = [
        {"detector_group_name": name, "detector_group_type": kind, "digits_for_element_number": 5, "element_name_prefix": prefix}
        for name, kind, prefix in groups
    ]
    return _json(
        {
            "digits_for_record_number": spec.record_digits,
            "digits_for_sequence_number": 4,
            "path_param_list": paths,
            "raw_data_group_name": "RawData",
            "record_header_dataset_name": "TriggerRecordHeader",
            "record_name_prefix": "TriggerRecord",
            "view_group_name": "Views",
        }
    )


def _geo_map(sources: Mapping[int, GeoId]) -> str:
    entries = [
        {"geoids": [place.to_number()], "id": source_id, "subsys": Subsystem.DETECTOR_READOUT}
        for source_id, place in sorted(sources.items())
    ]
    return _json({"map_entries": entries})


def _json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def builder_id(application: str) -> int:
    """The id of an application's trigger record builder: N of `dataflowN`, 10 S + D of `df-sS-dD`."""
    if match := re.fullmatch(r"df-s(\d+)-d(\d+)", application):
        return 10 * int(match[1]) + int(match[2])
    match = re.fullmatch(r"dataflow(\d+)", application)
    return int(match[1]) if match else 0


@dataclass(frozen=True, slots=True)
class _Written:
    """A dataset of a record, for the record's maps."""

    subsystem: Subsystem
    source_id: int
    path: str
    fragment_type: int | None = None
    detector_id: int | None = None


class _Writer:
    """Writes trigger records into an open file, and keeps count of what the file's attributes must say in the end."""

    def __init__(self, file: h5py.File, spec: FileSpec, alter: Alter | None) -> None:
        self._file, self._spec, self._alter = file, spec, alter
        self._map: ChannelMap = channel_map(spec.map_name or DEFAULT_MAP[spec.detector])
        self.recorded_bytes = 0
        self.sources: dict[int, GeoId] = {}

    def write(self, record: RecordContent) -> None:
        """Write one trigger record: header, TPC fragments, the trigger candidate, and the maps of what is where."""
        for name, adc in record.adc.items():
            _check(name, adc, self._map.element(name).n_channels)
        group = self._file.create_group(f"TriggerRecord{record.number:0{self._spec.record_digits}d}.{record.sequence:04d}")
        raw_data = group.create_group("RawData")
        written, requests = [], []
        window = self._window(record)
        for name, adc in record.adc.items():
            element = self._map.element(name)
            for stream in element.streams:
                draft = self._draft(record, window, stream, adc[stream.channels - element.first_channel])
                requests.append(ComponentRequest(Subsystem.DETECTOR_READOUT, stream.source_id, *window))
                place = stream.address
                self.sources[stream.source_id] = GeoId(stream.detector_id, place.crate, place.slot, place.stream)
                altered = draft if self._alter is None else self._alter(record.number, draft)
                if altered is not None:
                    written.append(self._fragment(raw_data, altered))
        requests.append(ComponentRequest(Subsystem.TRIGGER, 0, *window))
        candidate = self._fragment_header(record, window, (Subsystem.TRIGGER, 0), FragmentType.TRIGGER_CANDIDATE, DetectorId.DAQ, 0)
        path = self._dataset(raw_data, "Trigger_0x00000000_Trigger_Candidate", candidate.pack())
        written.append(_Written(Subsystem.TRIGGER, 0, path, FragmentType.TRIGGER_CANDIDATE, DetectorId.DAQ))
        written.append(self._header(raw_data, record, tuple(sorted(requests))))
        _write_maps(group, sorted(written, key=lambda item: (item.subsystem, item.source_id)))

    def _window(self, record: RecordContent) -> tuple[int, int]:
        """The readout window of a record: it does not start or end with a frame."""
        clocks = {name: CLOCKS[self._map.element(name).fragment_type] for name in record.adc}
        duration = max(adc.shape[1] // FRAME_SAMPLES * clocks[name].frame_ticks for name, adc in record.adc.items())
        return record.first_timestamp + _OUTSIDE_WINDOW, record.first_timestamp + duration - _OUTSIDE_WINDOW

    def _draft(self, record: RecordContent, window: tuple[int, int], stream: Stream, adc: NDArray[np.uint16]) -> FragmentDraft:
        kind = stream.address.fragment_type
        n_frames = adc.shape[1] // FRAME_SAMPLES
        frames = np.empty((n_frames, FRAME_BYTES), np.uint8)
        words = frame_headers(frames)
        words["daq"] = daq_words(stream.detector_id, stream.address, n_frames)
        words["timestamp"] = record.first_timestamp + np.arange(n_frames) * CLOCKS[kind].frame_ticks
        _write_electronics(words, stream)
        pack(adc, frames)
        source = Subsystem.DETECTOR_READOUT, stream.source_id
        return FragmentDraft(stream, self._fragment_header(record, window, source, kind, stream.detector_id, frames.size), frames)

    def _fragment_header(
        self,
        record: RecordContent,
        window: tuple[int, int],
        source: tuple[Subsystem, int],
        kind: FragmentType,
        detector_id: int,
        payload_bytes: int,
    ) -> FragmentHeader:
        return FragmentHeader(
            marker=FRAGMENT_MARKER,
            version=_FRAGMENT_VERSION,
            size=FRAGMENT_HEADER_BYTES + payload_bytes,
            trigger_number=record.number,
            trigger_timestamp=record.timestamp,
            window_begin=window[0],
            window_end=window[1],
            run=self._spec.run,
            error_bits=0 if payload_bytes else _DATA_NOT_FOUND,
            fragment_type=kind,
            sequence=record.sequence,
            detector_id=detector_id,
            source_id_version=_SOURCE_ID_VERSION,
            subsystem=source[0],
            source_id=source[1],
        )

    def _fragment(self, raw_data: h5py.Group, draft: FragmentDraft) -> _Written:
        stream = draft.stream
        name = f"Detector_Readout_0x{stream.source_id:08x}_{_TYPE_NAMES[stream.address.fragment_type]}"
        path = self._dataset(raw_data, name, draft.header.pack(), draft.frames)
        return _Written(Subsystem.DETECTOR_READOUT, stream.source_id, path, stream.address.fragment_type, stream.detector_id)

    def _header(self, raw_data: h5py.Group, record: RecordContent, requests: tuple[ComponentRequest, ...]) -> _Written:
        header = TriggerHeader(
            trigger_number=record.number,
            timestamp=record.timestamp,
            trigger_type=record.trigger_type,
            run=self._spec.run,
            sequence=record.sequence,
            max_sequence=record.max_sequence,
            error_bits=record.error_bits,
            components=requests,
            version=4 if self._spec.layout_version >= 5 else 3,
        )
        builder = builder_id(self._spec.application)
        path = self._dataset(raw_data, f"TR_Builder_0x{builder:08x}_TriggerRecordHeader", header.pack(builder))
        return _Written(Subsystem.TR_BUILDER, builder, path)

    def _dataset(self, raw_data: h5py.Group, name: str, head: bytes, frames: NDArray[np.uint8] | None = None) -> str:
        """Write bytes as the data acquisition does, int8 [n, 1], contiguous; returns the dataset's path."""
        size = len(head) + (0 if frames is None else frames.size)
        dataset = raw_data.create_dataset(name, (size, 1), np.int8)
        data = np.empty(size, np.uint8)
        data[: len(head)] = np.frombuffer(head, np.uint8)
        if frames is not None:
            data[len(head) :] = frames.ravel()
        dataset.write_direct(data.view(np.int8).reshape(-1, 1))
        self.recorded_bytes += size
        return f"{raw_data.name}/{name}"


def _check(name: str, adc: NDArray[np.uint16], n_channels: int) -> None:
    if adc.ndim != 2 or adc.shape[0] != n_channels or not adc.shape[1] or adc.shape[1] % FRAME_SAMPLES:
        raise ValueError(f"{name}: adc has shape {adc.shape}, not {n_channels} channels and whole frames of {FRAME_SAMPLES} ticks")
    if adc.dtype != np.uint16 or adc.max() > ADC_MAX:
        raise ValueError(f"{name}: adc must be uint16 of at most 14 bits")


def _write_electronics(words: NDArray[Any], stream: Stream) -> None:
    """The WIBEthHeader (ready, version 2, COLDATA times, channel = FEMB and COLDATA of the link) or TDEEthHeader of frames."""
    if stream.address.fragment_type is FragmentType.TDEETH:
        words["status"] = 1 << 52
        words["extra"] = words["timestamp"] * 16
        return
    time = words["timestamp"] & 0x7FFF
    channel = (stream.address.stream >> 6 & 1) * 4 + (stream.address.stream & 3)
    words["status"] = time | time << 16 | 1 << 43 | 2 << 52 | channel << 56
    words["extra"] = 0


def _write_maps(group: h5py.Group, written: Sequence[_Written]) -> None:
    """The record's attributes that say what each source sent, where it is, and which one is the header."""
    group.attrs["record_header_source_id"] = _json({"id": written[-1].source_id, "subsys": written[-1].subsystem})
    paths = [{"id": item.source_id, "path": item.path, "subsys": item.subsystem} for item in written]
    group.attrs["source_id_path_map"] = _json({"map_entries": paths})
    for name, key, value in (
        ("fragment_type_source_id_map", "fragment_type", "fragment_type"),
        ("subdetector_source_id_map", "subdetector", "detector_id"),
    ):
        kinds = sorted({getattr(item, value) for item in written} - {None})
        entries = [
            {key: kind, "sourceids": [{"id": i.source_id, "subsys": i.subsystem} for i in written if getattr(i, value) == kind]}
            for kind in kinds
        ]
        group.attrs[name] = _json({"map_entries": entries})
