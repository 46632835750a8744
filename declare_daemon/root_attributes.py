"""Metadata of a raw file from the attributes of its HDF5 root group, for streams without sidecars.

Attributes: DUNE-DAQ hdf5libs `HDF5RawDataFile`. Only they are read; events, which only the records know, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from declare_daemon.storage import is_xrootd, storage_of
from dune_prompt.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# operational_environment -> run type, which is also the namespace (DUNE-DAQ rawdatautils, createMetadataFilesForDataN.sh).
RUN_TYPES = {
    "np02vd": "vd-protodune",
    "np02vdcoldbox": "vd-coldbox",
    "np04hd": "hd-protodune",
    "np04hdcoldbox": "hd-coldbox",
}


def root_metadata(path: str) -> dict[str, Any]:
    """Metadata of the raw file `path` with MetaCat's keys.

    Raises:
        DataError: no HDF5 file, no raw file, or one the DAQ did not close. OSError passes: then nothing is said about the file.
    """
    with storage_of(path).open(path) as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise DataError(f"{path}: no HDF5 file")
        attributes = _attributes(file if is_xrootd(path) else path, path)
    return metadata_of(attributes, path)


def _attributes(source: Any, path: str) -> dict[str, Any]:
    """The attributes of the root group of `source`, which h5py reads by itself or through a file object."""
    import h5py

    try:
        # Without locks: network file systems refuse them, and nobody writes into a closed file.
        with h5py.File(source, "r", locking=False) as raw:
            return dict(raw.attrs)
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        # The HDF5 library gives an errno only when the disk is to blame; a damaged file raises any of these.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # Nor does it pass on what stopped a file object.
        if (failure := getattr(source, "failure", None)) is not None:
            raise OSError(*failure) from None
        raise DataError(f"{path}: no readable HDF5 file ({error})") from None


def metadata_of(attributes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Metadata from the attributes of a root group."""
    run = _number(attributes, "run_number", where)
    environment = _text(attributes, "operational_environment", where)
    if environment not in RUN_TYPES:
        raise DataError(f"{where}: operational_environment {environment!r} is none of {', '.join(RUN_TYPES)}")
    if "closing_timestamp" not in attributes:
        raise DataError(f"{where}: closing_timestamp is missing, the DAQ did not close the file (HDF5LIBS_TestRecoverFile repairs it)")
    slices = _text(attributes, "record_type", where, "TriggerRecord") == "TimeSlice"
    return {
        "core.data_stream": _text(attributes, "offline_data_stream", where, "cosmics"),
        "core.data_tier": "trigprim" if slices else "raw",
        # Milliseconds; sidecars have whole seconds.
        "core.end_time": float(_number(attributes, "closing_timestamp", where) // 1000),
        "core.file_format": "hdf5",
        "core.file_type": "detector",
        "core.run_type": RUN_TYPES[environment],
        "core.runs": [run],
        "core.runs_subruns": [run * 100000 + 1],
        "core.start_time": float(_number(attributes, "creation_timestamp", where) // 1000),
        "dune.daq_test": _text(attributes, "run_was_for_test_purposes", where, "true"),
    }


def _number(attributes: Mapping[str, Any], key: str, where: str) -> int:
    """A whole number; up to layout 5 timestamps are written as text."""
    try:
        return int(attributes[key])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{where}: attribute {key} is {'missing' if key not in attributes else 'no number'}") from None


def _text(attributes: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = attributes.get(key, default)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise DataError(f"{where}: attribute {key} is {'missing' if value is None else 'no text'}")
    return value
