"""Reads the two forms of a raw file's sidecar `<name>.json`: MetaCat's (2024 on) and SAM's (until 2023, and sites that still write it).

Both are told apart key by key, as mixtures exist: keys with a dot are MetaCat's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from declare_daemon.storage import storage_of
from dune_prompt.errors import DataError
from dune_prompt.records import split_did

MAX_BYTES = 32 << 20

# SAM's names of MetaCat's keys; other SAM keys without a dot go into the category `core`.
SAM_KEYS = {
    "content_status": "core.file_content_status",
    "first_event": "core.first_event_number",
    "last_event": "core.last_event_number",
}
# About the file as a whole, or kept by the catalogues themselves: no metadata.
NO_METADATA = frozenset(
    {"auto_name", "checksum", "checksums", "create_date", "created_timestamp", "creator", "dataset", "did", "fid", "file_id", "file_name"}
    | {"file_size", "metadata", "name", "namespace", "parents", "retired", "runs", "rs.runs", "core.runs", "size", "update_date"}
    | {"update_user", "updated_by", "updated_timestamp", "user"}
)
TIMES = ("core.start_time", "core.end_time")

_ADLER32 = re.compile(r"(?:adler32:)?(?:0x)?([0-9a-f]{1,8})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Description:
    """What a sidecar says of a file. Metadata have MetaCat's keys; nothing is checked for completeness."""

    name: str
    namespace: str | None = None
    size_bytes: int | None = None
    adler32: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    dataset: str | None = None


def read_sidecar(place: str, name: str) -> Description:
    """The sidecar at `place` of the file `name`.

    Raises:
        DataError: no JSON (it may be half-written), of another file, or a value of no use. OSError passes.
    """
    text = storage_of(place).read(place, MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise DataError(f"{place}: more than {MAX_BYTES} bytes are too many for a sidecar")
    try:
        content = json.loads(text)
    except RecursionError:
        raise DataError(f"{place}: not JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{place}: not JSON ({error})") from None
    return describe_content(content, name, place)


def describe_content(content: Any, name: str, where: str) -> Description:
    """What the JSON document `content` says of the file `name`."""
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected an object, found {type(content).__name__}")
    top = _lowered(content, where)
    inner = top.get("metadata") or {}
    if not isinstance(inner, dict):
        raise DataError(f"{where}: 'metadata' must be an object")
    everything = top | _lowered(inner, where)
    for key in ("name", "file_name"):
        if top.get(key) not in (None, name):
            raise DataError(f"{where}: {key} is {str(top[key])[:300]!r}, but it lies beside {name}")
    return Description(
        name=name,
        namespace=_text(top.get("namespace"), "namespace", where),
        size_bytes=_size(_first(everything, "size", "file_size"), where),
        adler32=adler32(_first(everything, "checksums", "checksum"), where),
        metadata=_metadata(everything, where),
        parents=tuple(_parent(item, where) for item in _list(top.get("parents"), "parents", where)),
        dataset=_text(top.get("dataset"), "dataset", where),
    )


def adler32(value: Any, where: str) -> str | None:
    """The Adler-32 in any of its spellings as 8 lower-case digits: `{"adler32": x}`, `"adler32:x"`, `["enstore:…", "adler32:x"]`, x."""
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
        value = next((item for item in texts if item.lower().startswith("adler32:")), texts[0] if len(texts) == 1 else None)
    elif isinstance(value, dict):
        value = value.get("adler32")
    if value is None:
        return None
    match = _ADLER32.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise DataError(f"{where}: checksum {str(value)[:60]!r} is not an adler32 of at most 8 hexadecimal digits")
    return match[1].lower().zfill(8)


def seconds(value: Any, where: str) -> float:
    """A time as seconds since the Unix epoch, from a number or an ISO 8601 date (UTC when it does not say)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{where}: {str(value)[:60]!r} is no time")
    try:
        return float(value)
    except (ValueError, OverflowError):
        pass
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        raise DataError(f"{where}: {str(value)[:60]!r} is no time (seconds since 1970, or ISO 8601)") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _lowered(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`data` with keys as the catalogues want them: SAM has `DUNE.campaign`, MetaCat's rules forbid capitals."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        lower = key.strip().lower()
        if found.setdefault(lower, value) != value:
            raise DataError(f"{where}: {lower[:80]} is given twice, with different values")
    return found


def _metadata(everything: Mapping[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in everything.items():
        if key not in NO_METADATA and value is not None:
            found[key if "." in key else SAM_KEYS.get(key, f"core.{key}")] = value
    for key in TIMES:
        if key in found:
            found[key] = seconds(found[key], f"{where}: {key}")
    runs, subruns, run_type = _runs(_first(everything, "core.runs", "runs", "rs.runs"), where)
    if runs:
        found["core.runs"] = runs
        found.setdefault("core.runs_subruns", subruns)
    if run_type:
        found.setdefault("core.run_type", run_type)
    events = found.get("core.events")
    if isinstance(events, list) and events and all(type(event) is int for event in events):
        found.setdefault("core.event_count", len(events))
        found.setdefault("core.first_event_number", min(events))
        found.setdefault("core.last_event_number", max(events))
    return found


def _runs(value: Any, where: str) -> tuple[list[int], list[int], str | None]:
    """Runs, subruns as run x 100000 + subrun (subrun 1 if not given), and run type, from `[28049]` or `[[28049, 1, "hd-protodune"]]`."""
    runs: list[int] = []
    subruns: list[int] = []
    run_type = None
    for item in _list(value, "runs", where):
        parts = item if isinstance(item, list) else [item]
        run, subrun = parts[0] if parts else None, parts[1] if len(parts) > 1 else 1
        if type(run) is not int or type(subrun) is not int or run < 0 or not 0 <= subrun < 100000:
            raise DataError(f"{where}: runs: {str(item)[:60]!r} is no run, nor [run, subrun, run type]")
        runs.append(run)
        subruns.append(run * 100000 + subrun)
        run_type = _text(parts[2], "runs: run type", where) if len(parts) > 2 else run_type
    return list(dict.fromkeys(runs)), list(dict.fromkeys(subruns)), run_type


def _parent(item: Any, where: str) -> str:
    if isinstance(item, dict):
        item = item.get("did") or f"{item.get('namespace', '')}:{item.get('name', '')}"
    if not isinstance(item, str):
        raise DataError(f"{where}: parents: {str(item)[:60]!r} is no DID")
    split_did(item)
    return item


def _first(data: Mapping[str, Any], *keys: str) -> Any:
    return next((data[key] for key in keys if data.get(key) is not None), None)


def _list(value: Any, key: str, where: str) -> list[Any]:
    if not isinstance(value, list | None):
        raise DataError(f"{where}: {key} must be a list, not {str(value)[:60]!r}")
    return value or []


def _text(value: Any, key: str, where: str) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise DataError(f"{where}: {key} must be text, not {str(value)[:60]!r}")
    return value


def _size(value: Any, where: str) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise DataError(f"{where}: size {str(value)[:60]!r} is no number of bytes")
    return value
