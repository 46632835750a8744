"""`declare`: checks what the stages before made, as the catalogues will, and seals it: it is complete and may be registered.

No catalogue is asked. The engine hands the sealed files of a committed attempt to the registrar. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dune_prompt.checksum import adler32_of
from dune_prompt.errors import DataError
from dune_prompt.records import SIDECAR_SUFFIX, FileRecord, read_json
from stages.stage import StageContext, StageResult

_TEXT, _WHOLE, _NUMBER, _WHOLES = "text", "a whole number", "a number", "a list of whole numbers, not empty"

# What DUNE's catalogues demand of a derived file (DUNE data-mgmt-ops, utilities/TypeChecker.py).
REQUIRED_METADATA = {
    "core.application.family": _TEXT,
    "core.application.name": _TEXT,
    "core.application.version": _TEXT,
    "core.data_stream": _TEXT,
    "core.data_tier": _TEXT,
    "core.start_time": _NUMBER,
    "core.end_time": _NUMBER,
    "core.event_count": _WHOLE,
    "core.first_event_number": _WHOLE,
    "core.last_event_number": _WHOLE,
    "core.file_content_status": _TEXT,
    "core.file_format": _TEXT,
    "core.file_type": _TEXT,
    "core.run_type": _TEXT,
    "core.runs": _WHOLES,
    "core.runs_subruns": _WHOLES,
    "retention.status": _TEXT,
    "retention.class": _TEXT,
    "dune.config_file": _TEXT,
    "dune.campaign": _TEXT,
}
# They end SAM's and MetaCat's query strings.
_FORBIDDEN = set("'\"\\")


def run(context: StageContext) -> StageResult:
    """Check every file of the earlier stages that has a sidecar, and seal it where it lies.

    Raises:
        DataError: a sidecar and its file disagree, the catalogues would refuse its metadata, or there is nothing to seal.
    """
    files = [path for stage, paths in context.files.items() if stage != context.name for path in paths]
    sealed = tuple(path for path in files if _sidecar(path).exists())
    if not sealed:
        raise DataError(f"declare: none of the {len(files)} files of the stages before has a sidecar, so nothing can be registered")
    faults = [fault for path in sealed for fault in _faults(path)]
    if faults:
        raise DataError("; ".join(faults))
    return StageResult(sealed=sealed, metrics={"n_sealed": len(sealed), "sealed_bytes": sum(path.stat().st_size for path in sealed)})


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR_SUFFIX)


def _faults(path: Path) -> Iterator[str]:
    """What is wrong with one file and its sidecar, each naming the file or key."""
    try:
        record = FileRecord.from_json(read_json(_sidecar(path)), _sidecar(path).name)
        size_bytes, adler32 = adler32_of(path)
    except DataError as error:
        yield str(error)
        return
    except FileNotFoundError:
        yield f"{path}: the file is gone, its sidecar is not"
        return
    if record.name != path.name:
        yield f"{path.name}: its sidecar is of {record.name}"
    if record.size_bytes != size_bytes:
        yield f"{path.name}: {size_bytes} bytes, its sidecar says {record.size_bytes}"
    elif record.adler32 != adler32:
        yield f"{path.name}: adler32 {adler32}, its sidecar says {record.adler32}"
    if not record.parents:
        yield f"{path.name}: no parents; the raw file has no DID (run by hand, it needs its sidecar)"
    missing = [key for key in REQUIRED_METADATA if record.metadata.get(key) is None]
    if missing:
        yield f"{path.name}: metadata without {', '.join(missing)}; those of the raw file come from its sidecar"
    for key, expected in REQUIRED_METADATA.items():
        if key not in missing and not _is(record.metadata[key], expected):
            yield f"{path.name}: {key} must be {expected}, not {record.metadata[key]!r:.60}"
    yield from (f"{path.name}: {fault}" for fault in _unprintable({"namespace": record.namespace, **record.metadata}))


def _is(value: Any, expected: str) -> bool:
    if isinstance(value, bool):
        return False
    if expected == _TEXT:
        return isinstance(value, str) and value != ""
    if expected == _WHOLES:
        return isinstance(value, list) and value != [] and all(_is(item, _WHOLE) for item in value)
    return isinstance(value, int) or (expected == _NUMBER and isinstance(value, float))


def _unprintable(value: Any, where: str = "") -> Iterator[str]:
    """Keys with upper case, and text with characters that a catalogue's query language cannot hold."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = f"{where}.{key}" if where else str(key)
            if key != key.lower():
                yield f"key {name} has upper case"
            yield from _unprintable(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _unprintable(item, where)
    elif isinstance(value, str) and not (value.isascii() and value.isprintable() and _FORBIDDEN.isdisjoint(value)):
        yield f"{where} must be printable ASCII without quotes and backslashes, not {value!r:.60}"
