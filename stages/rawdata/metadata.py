"""The record of a raw file for the catalogues: from the sidecar the data acquisition leaves beside it, else from the file itself.

The metadata are those of DUNE's raw-data sidecars (rawdatautils createMetadataFilesForDataN.sh, data-mgmt-ops TypeChecker.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dune_prompt.checksum import adler32_of
from dune_prompt.errors import DataError, TransientError
from dune_prompt.records import SIDECAR_SUFFIX, FileRecord, read_json
from stages.rawdata.file_name import RawFileName
from stages.rawdata.reader import RawFile
from stages.rawdata.structures import DTS_TICKS_PER_S

# What the data acquisition's scripts assume for files that do not say (file layouts before 5).
_DEFAULT_DATA_STREAM = "cosmics"
_SUBRUN = 1


def record_of(path: Path) -> FileRecord:
    """What the catalogues know, or would know, of the raw file `path`.

    The sidecar beside it is used when it is one in MetaCat's form; otherwise the file is read, all of it, for its checksum.

    Raises:
        DataError: the sidecar is of another file or another size, or the file is bad or not named as a raw file.
        TransientError: the file system does not give the file or its sidecar.
    """
    sidecar = path.with_name(path.name + SIDECAR_SUFFIX)
    try:
        size = path.stat().st_size
        content = read_json(sidecar) if sidecar.exists() else None
    except OSError as error:
        raise TransientError(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    if not (isinstance(content, dict) and "metadata" in content):
        return describe(path)
    record = FileRecord.from_json(content, str(sidecar))
    if record.name != path.name:
        raise DataError(f"{sidecar}: describes {record.name}, not the file beside it")
    if record.size_bytes != size:
        raise DataError(f"{path}: {size} bytes, its sidecar says {record.size_bytes}; the file is incomplete or not the one described")
    return record


def describe(path: Path, name: str | None = None) -> FileRecord:
    """The record of the raw file `path`, all from the file itself; `name` when it is not (yet) called as it should be.

    Raises:
        DataError: the file is bad, or not named as a raw file.
        TransientError: the file system does not give it.
    """
    parts = RawFileName.parse(name or path.name)
    with RawFile.open(path) as raw:
        attributes = raw.attributes
        events = sorted({record.number for record in raw.records})
        # A file that was not closed ends with its last trigger.
        closed_s = (
            raw.header(raw.records[-1]).timestamp // DTS_TICKS_PER_S if attributes.closed_ms is None else attributes.closed_ms // 1000
        )
    metadata: dict[str, Any] = {
        "core.data_stream": attributes.data_stream or _DEFAULT_DATA_STREAM,
        "core.data_tier": parts.data_tier,
        "core.end_time": float(closed_s),
        "core.event_count": len(events),
        "core.events": events,
        "core.file_content_status": "good",
        "core.file_format": "hdf5",
        "core.file_type": "detector",
        "core.first_event_number": events[0],
        "core.last_event_number": events[-1],
        "core.run_type": parts.run_type,
        "core.runs": [attributes.run],
        "core.runs_subruns": [100_000 * attributes.run + _SUBRUN],
        "core.start_time": float(attributes.created_ms // 1000),
        "retention.class": "physics",
        "retention.status": "active",
    }
    if attributes.test_run is not None:
        metadata["dune.daq_test"] = str(attributes.test_run)
    try:
        size, adler32 = adler32_of(path)
    except OSError as error:
        raise TransientError(f"{path}: cannot be read ({error.strerror})") from None
    return FileRecord(parts.run_type, str(parts), size, adler32, metadata)


def sam_sidecar(record: FileRecord) -> dict[str, Any]:
    """The sidecar of `record` in the SAM form, as the data acquisition wrote them up to 2023."""
    metadata = record.metadata
    return {
        "data_stream": metadata["core.data_stream"],
        "data_tier": metadata["core.data_tier"],
        "event_count": metadata["core.event_count"],
        "events": metadata["core.events"],
        "file_format": metadata["core.file_format"],
        "file_name": record.name,
        "file_type": metadata["core.file_type"],
        "first_event": metadata["core.first_event_number"],
        "last_event": metadata["core.last_event_number"],
        "runs": [[run, _SUBRUN, metadata["core.run_type"]] for run in metadata["core.runs"]],
        "checksum": f"adler32:{record.adler32}",
        "file_size": record.size_bytes,
    }
