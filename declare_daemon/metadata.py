"""The metadata of a file as the catalogues want them: MetaCat's form, complete, clean, of the right types.

Forms and rules: the sidecars of DUNE-DAQ rawdatautils `createMetadataFilesForDataN.sh`, declad's conversion to MetaCat, and the
key table of DUNE data-mgmt-ops `TypeChecker.py`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from declare_daemon.root_attributes import root_metadata
from declare_daemon.sidecar import TIMES, Description, read_sidecar
from declare_daemon.storage import name_of
from dune_prompt.errors import DataError
from dune_prompt.records import FileRecord, split_did

RAW_TIERS = frozenset({"raw", "trigprim", "binary-raw"})

DEFAULTS = {
    "core.file_content_status": "good",
    "core.group": "dune",
    "retention.class": "unknown",
    "retention.status": "active",
}

# Key -> type. Numbers of events are optional: the DAQ leaves them out when its HDF5 tool is missing.
MANDATORY: dict[str, type] = {
    "core.data_stream": str,
    "core.data_tier": str,
    "core.end_time": float,
    "core.file_content_status": str,
    "core.file_format": str,
    "core.file_type": str,
    "core.run_type": str,
    "core.runs": list,
    "core.runs_subruns": list,
    "core.start_time": float,
    "retention.class": str,
    "retention.status": str,
}
MANDATORY_OF_DERIVED: dict[str, type] = {
    "core.application.family": str,
    "core.application.name": str,
    "core.application.version": str,
    "dune.config_file": str,
}
OPTIONAL: dict[str, type] = {
    "core.event_count": int,
    "core.events": list,
    "core.first_event_number": int,
    "core.last_event_number": int,
    "dune.campaign": str,
    "dune.daq_test": str,
}

KEY = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")
INDEX_IN_NAME = re.compile(r"_run\d+_(\d+)_")
MAX_RUN = 2**31 - 1
MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a file before its bytes are read. Size and checksum are None when only the file itself can tell."""

    namespace: str
    name: str
    size_bytes: int | None
    adler32: str | None
    metadata: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    dataset: str = ""

    def record(self, size_bytes: int, adler32: str) -> FileRecord:
        """The record of the file, with what was measured."""
        return FileRecord(self.namespace, self.name, size_bytes, adler32, self.metadata, self.parents, self.dataset)


def describe(path: str, *, sidecar: str | None) -> Described:
    """Metadata of the raw file `path`, from its sidecar or, with none, from the attributes of its HDF5 root.

    What a sidecar lacks (times, in the SAM form) is looked up in the file.

    Raises:
        DataError: not readable as metadata, or something mandatory is missing or wrong. OSError passes.
    """
    given = read_sidecar(sidecar, name_of(path)) if sidecar is not None else Description(name_of(path))
    if sidecar is not None and (given.size_bytes is None or given.adler32 is None):
        raise DataError(f"{sidecar}: {'size' if given.size_bytes is None else 'checksum (adler32)'} is missing")
    if sidecar is None:
        given = replace(given, metadata=root_metadata(path))
    elif not given.metadata.keys() >= MANDATORY.keys() - DEFAULTS.keys():
        # If the file cannot tell either, what to complain about is the sidecar.
        with suppress(DataError):
            given = replace(given, metadata=root_metadata(path) | given.metadata)
    return complete(given, sidecar or path)


def complete(given: Description, where: str) -> Described:
    """`given` with defaults, clean values, and everything mandatory checked; `where` names its source in errors.

    Raises:
        DataError: naming the key.
    """
    metadata = DEFAULTS | clean_metadata(given.metadata, where)
    if isinstance(test := metadata.get("dune.daq_test"), bool | str):
        metadata["dune.daq_test"] = _spelled(test, where)
    namespace = given.namespace or metadata.get("core.run_type")
    if not namespace or not isinstance(namespace, str):
        raise DataError(f"{where}: neither 'namespace' nor 'core.run_type' is given")
    metadata.setdefault("core.run_type", namespace)
    for key in TIMES:
        if type(metadata.get(key)) is int:
            metadata[key] = float(metadata[key])
    _check_types(metadata, where)
    runs = _whole_numbers(metadata["core.runs"], "core.runs", where)
    _whole_numbers(metadata["core.runs_subruns"], "core.runs_subruns", where)
    if runs[0] > MAX_RUN:
        raise DataError(f"{where}: run {runs[0]} is too large")
    dataset = given.dataset or f"{namespace}:{metadata['core.run_type']}_{runs[0]}"
    for did in (f"{namespace}:{given.name}", dataset, *given.parents):
        _check_did(did, where)
    return Described(namespace, given.name, given.size_bytes, given.adler32, metadata, given.parents, dataset)


def completed(record: FileRecord) -> FileRecord:
    """A derived file's record, checked and cleaned as a raw one's.

    Raises:
        DataError: naming the key, or that it says no dataset.
    """
    if not record.dataset:
        raise DataError(f"{record.did}: its sidecar names no dataset")
    given = Description(record.name, record.namespace, record.size_bytes, record.adler32, record.metadata, record.parents, record.dataset)
    return complete(given, record.did).record(record.size_bytes, record.adler32)


def file_index(name: str) -> int | None:
    """The file index in a raw file's name (`…_run027296_0145_…`), None in other names."""
    match = INDEX_IN_NAME.search(name)
    return int(match[1]) if match and len(match[1]) < 10 else None


def clean_metadata(metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`metadata` with values every catalogue stores unchanged; keys without a value are dropped.

    Raises:
        DataError: a key is not of the form `category.name` in small letters, or a number is not finite.
    """
    found: dict[str, Any] = {}
    for key, value in metadata.items():
        if not KEY.fullmatch(key):
            raise DataError(f"{where}: key {clean_text(key)[:80]!r} is not of the form category.name in small letters")
        if value is not None:
            found[key] = _clean(value, f"{where}: {key}", MAX_DEPTH)
    return found


def clean_text(text: str) -> str:
    """`text` as printable ASCII without `"` and `\\`: MetaCat answers those with an error 500 or stores something else."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode()
    return "".join(_REPLACED.get(char, char) if char.isprintable() else " " for char in plain)


_REPLACED = {'"': "'", "\\": "/"}


def _clean(value: Any, where: str, depth: int) -> Any:
    if depth == 0:
        raise DataError(f"{where}: nested too deeply")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where}: {value} is no number a catalogue can store")
    if isinstance(value, list | tuple):
        return [_clean(item, where, depth - 1) for item in value]
    if isinstance(value, dict):
        return {clean_text(str(key)): _clean(item, where, depth - 1) for key, item in value.items()}
    return value


def _spelled(test: bool | str, where: str) -> str:
    """`dune.daq_test` as the string "True" or "False"; the DAQ writes true, "true" or "True"."""
    spelled = str(test).strip().capitalize()
    if spelled not in ("True", "False"):
        raise DataError(f"{where}: dune.daq_test {test!r} is neither true nor false")
    return spelled


def _check_types(metadata: Mapping[str, Any], where: str) -> None:
    tier = metadata.get("core.data_tier")
    mandatory = MANDATORY | MANDATORY_OF_DERIVED if isinstance(tier, str) and tier not in RAW_TIERS else MANDATORY
    if missing := sorted(mandatory.keys() - metadata.keys()):
        raise DataError(f"{where}: {', '.join(missing)} missing")
    for key, kind in (mandatory | OPTIONAL).items():
        value = metadata.get(key)
        if value is not None and (type(value) is not kind or value in ("", [])):
            if kind is list and value == [] and key == "core.events":
                continue
            raise DataError(f"{where}: {key} must be {_NOUN[kind]}, not {str(value)[:60]!r}")


_NOUN = {str: "text", float: "a time in seconds", int: "a whole number", list: "a list that is not empty"}


def _whole_numbers(values: list[Any], key: str, where: str) -> list[int]:
    if not all(type(value) is int and value >= 0 for value in values):
        raise DataError(f"{where}: {key} must hold whole numbers, not {str(values)[:60]!r}")
    return values


# MetaCat allows only these in names (its server's common_handler).
_DID_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def _check_did(did: str, where: str) -> None:
    if len(did) > 255 or not all(_DID_PART.fullmatch(part) for part in split_did(did)):
        raise DataError(f"{where}: {clean_text(did)[:80]!r} is no name the catalogues accept (letters, digits, '_', '.', '-'; 255 at most)")
