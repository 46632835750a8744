"""The attributes of a raw file: which run it belongs to, when it was written, and by whom.

Source: DUNE-DAQ hdf5libs HDF5RawDataFile.cpp, HDF5SourceIDHandler.cpp (file layouts 3 to 7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from dune_prompt.errors import DataError
from stages.rawdata.hdf5_file import hdf5_errors
from stages.rawdata.structures import DetectorId, Subsystem

LAYOUT_VERSIONS = range(3, 8)
_DETECTOR_OF_ENVIRONMENT = {"np04": "pdhd", "np02": "pdvd"}
_DETECTOR_OF_ID: dict[int, str] = {DetectorId.HD_TPC: "pdhd", DetectorId.VD_BOTTOM_TPC: "pdvd", DetectorId.VD_TOP_TPC: "pdvd"}


class GeoId(NamedTuple):
    """Where in the electronics a source of data is."""

    detector_id: int
    crate: int
    slot: int
    stream: int

    @classmethod
    def from_number(cls, number: int) -> GeoId:
        """From the 64 bits in the file: stream << 48 | slot << 32 | crate << 16 | detector id."""
        return cls(number & 0xFFFF, number >> 16 & 0xFFFF, number >> 32 & 0xFFFF, number >> 48 & 0xFFFF)

    def to_number(self) -> int:
        return self.stream << 48 | self.slot << 32 | self.crate << 16 | self.detector_id


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """The root attributes of a raw file.

    Times in milliseconds since the Unix epoch; `closed_ms` is None when the file was never closed, `recorded_size` (bytes of all datasets)
    then too. `data_stream` and `test_run` are None before layout 5. `source_geo_map`: source id of the detector readout -> places.
    """

    run: int
    file_index: int
    layout_version: int
    record_type: str
    application: str
    operational_environment: str
    created_ms: int
    closed_ms: int | None
    data_stream: str | None = None
    test_run: bool | None = None
    recorded_size: int | None = None
    source_geo_map: Mapping[int, tuple[GeoId, ...]] = field(default_factory=dict, repr=False)


def read_attributes(file: h5py.File, path: Path) -> FileAttributes:
    """The root attributes of an open raw file.

    Raises:
        DataError: one is missing or senseless, or the layout is not one of those this reader knows.
    """
    attrs = _Attributes(file, path)
    version = attrs.number("filelayout_version")
    if version not in LAYOUT_VERSIONS:
        raise DataError(f"{path}: file layout {version}; this reader knows {LAYOUT_VERSIONS.start} to {LAYOUT_VERSIONS.stop - 1}")
    test_run = attrs.optional_text("run_was_for_test_purposes")
    return FileAttributes(
        run=attrs.number("run_number"),
        file_index=attrs.number("file_index"),
        layout_version=version,
        record_type=attrs.text("record_type"),
        application=attrs.text("application_name"),
        operational_environment=attrs.text("operational_environment"),
        created_ms=attrs.number("creation_timestamp"),
        closed_ms=attrs.optional_number("closing_timestamp"),
        data_stream=attrs.optional_text("offline_data_stream"),
        test_run=None if test_run is None else test_run.lower() == "true",
        recorded_size=attrs.optional_number("recorded_size"),
        source_geo_map=attrs.geo_map("source_id_geo_id_map"),
    )


def detector_of(attributes: FileAttributes) -> str | None:
    """`pdhd` or `pdvd`, by the operational environment or else the detector ids of the readout; None when neither tells."""
    # The environment first: early ProtoDUNE-VD data have wrong detector ids.
    if detector := _DETECTOR_OF_ENVIRONMENT.get(attributes.operational_environment[:4]):
        return detector
    places = (place for group in attributes.source_geo_map.values() for place in group)
    return next((_DETECTOR_OF_ID[place.detector_id] for place in places if place.detector_id in _DETECTOR_OF_ID), None)


class _Attributes:
    """Reads attributes as text or number, whichever way they were written (timestamps are text before layout 6, numbers since)."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._path = path
        with hdf5_errors(path, "root group"):
            self._attrs = file.attrs

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise DataError(f"{self._path}: attribute {name!r} is missing; not a DUNE-DAQ raw file, or not finished")
        return value

    def number(self, name: str) -> int:
        return self._whole(name, self.text(name))

    def optional_number(self, name: str) -> int | None:
        value = self.optional_text(name)
        return None if value is None else self._whole(name, value)

    def optional_text(self, name: str) -> str | None:
        with hdf5_errors(self._path, f"attribute {name!r}"):
            value = self._attrs.get(name)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        return value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)

    def geo_map(self, name: str) -> Mapping[int, tuple[GeoId, ...]]:
        text = self.optional_text(name)
        if text is None:
            return {}
        try:
            entries: list[Any] = json.loads(text)["map_entries"]
            readout = (entry for entry in entries if entry["subsys"] == Subsystem.DETECTOR_READOUT)
            return {int(entry["id"]): tuple(map(GeoId.from_number, entry["geoids"])) for entry in readout}
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{self._path}: attribute {name!r} is not the map it should be: {text[:80]!r}") from None

    def _whole(self, name: str, text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise DataError(f"{self._path}: attribute {name!r} is {text[:60]!r}, not a whole number") from None
