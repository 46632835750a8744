"""Records as they were uploaded, read from their files: channels, spectra, trigger records, pictures. They were checked when they came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from dashboard.dqm.storage import RECORD
from dashboard.kept import Kept

# A record of 10,240 channels is 1 MB of text, and some 2 MB in memory.
RECORDS_KEPT = 8

Record = Mapping[str, Any]


class RecordFiles:
    """The record files of a workspace, each parsed once while it is looked at."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._kept: Kept[tuple[str, int, int], Record] = Kept(RECORDS_KEPT)

    def read(self, folder: str) -> Record | None:
        """The record in a folder of the workspace; None when its file is gone, or is being replaced right now."""
        path = self._workspace / folder / RECORD
        try:
            status = path.stat()
            return self._kept.get((folder, status.st_mtime_ns, status.st_size), lambda: parse(path))
        except (OSError, ValueError):
            return None


def parse(path: Path) -> Record:
    """A record file; OSError when it is gone, ValueError when it is damaged."""
    record = from_json(path.read_bytes())
    if not isinstance(record, dict):
        raise ValueError(f"{path}: not a record")
    return record


def planes_of(record: Record) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every plane of a record with the name of its element."""
    for element in record["elements"]:
        for plane in element["planes"]:
            yield element["element"], plane


def plane_of(record: Record, element: str, plane: str) -> Mapping[str, Any] | None:
    """One plane of a record; None when it has no such plane."""
    return next((found for name, found in planes_of(record) if (name, found["plane"]) == (element, plane)), None)
