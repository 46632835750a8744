"""What the rooms hand each other, as plain data: the sidecar of a file, the assignment of a job, the report of an attempt.

Standard library only: workers import this module. Every `from_json` checks what it reads and raises `DataError` naming the place.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from dune_prompt.errors import DataError

SIDECAR_SUFFIX = ".json"
REPORT_SCHEMA = 1
ASSIGNMENT_SCHEMA = 1

# MetaCat accepts only these characters in a name (its server's common_handler); a leading dot or dash is ours to refuse.
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
ADLER32 = re.compile(r"[0-9a-f]{8}")

T = TypeVar("T")

_KIND = {str: "text", int: "a whole number", dict: "an object", list: "a list", float: "a number", bool: "true or false"}


def check_name(name: str, where: str = "file name") -> str:
    """`name` if it can be a file's name in every catalogue and is no path; `DataError` otherwise."""
    if not FILE_NAME.fullmatch(name):
        raise DataError(f"{where} {name[:80]!r}: only letters, digits, '_', '.', '-' are allowed, at most 255 of them")
    return name


def split_did(did: str) -> tuple[str, str]:
    """The namespace and the name of a DID `namespace:name`."""
    namespace, colon, name = did.partition(":")
    if not (namespace and colon and name):
        raise DataError(f"{did[:80]!r} is not a DID (namespace:name)")
    return namespace, name


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Who made a derived file: the pair (campaign, version) identifies results, the stage their kind."""

    campaign: str
    version: str
    stage: str


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file as a catalogue knows it (MetaCat's form, `metadata` keys all dotted and lower case).

    `fid` is the identity an earlier catalogue gave it (SAM's file id), which a later one takes over; sidecars do not have it.
    """

    namespace: str
    name: str
    size_bytes: int
    adler32: str
    metadata: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    dataset: str | None = None
    fid: str | None = None

    @property
    def did(self) -> str:
        return f"{self.namespace}:{self.name}"

    def to_json(self) -> dict[str, Any]:
        """The sidecar's content, as MetaCat's `declare_files` wants a file, and the dataset it belongs to."""
        content: dict[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "size": self.size_bytes,
            "checksums": {"adler32": self.adler32},
            "metadata": self.metadata,
        }
        if self.parents:
            content["parents"] = [{"did": did} for did in self.parents]
        if self.dataset is not None:
            content["dataset"] = self.dataset
        return content

    @classmethod
    def from_json(cls, content: Any, where: str) -> FileRecord:
        """Read a sidecar in the MetaCat form; `where` names it in errors."""
        data = _object(content, where)
        checksums = _get(data, "checksums", dict, where)
        adler32 = _get(checksums, "adler32", str, f"{where}: checksums")
        if not ADLER32.fullmatch(adler32):
            raise DataError(f"{where}: checksums.adler32 {adler32!r} is not 8 lower-case hexadecimal digits")
        size = _get(data, "size", int, where)
        if size < 0:
            raise DataError(f"{where}: size {size} is negative")
        parents = []
        for parent in data.get("parents", []):
            did = _get(_object(parent, f"{where}: parents"), "did", str, f"{where}: parents")
            split_did(did)
            parents.append(did)
        dataset = data.get("dataset")
        if dataset is not None:
            split_did(_get(data, "dataset", str, where))
        return cls(
            namespace=_get(data, "namespace", str, where),
            name=check_name(_get(data, "name", str, where), f"{where}: name"),
            size_bytes=size,
            adler32=adler32,
            metadata=_get(data, "metadata", dict, where),
            parents=tuple(parents),
            dataset=dataset,
        )


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file a job reads. It may move while the job waits, so all places it can be at are given, best first.

    Size and Adler-32, where known, are what a copy of it must have.
    """

    name: str
    places: tuple[str, ...]
    did: str | None = None
    stage: str = "raw"
    metadata: dict[str, Any] = field(default_factory=dict)
    size_bytes: int | None = None
    adler32: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "places": list(self.places),
            "did": self.did,
            "stage": self.stage,
            "metadata": self.metadata,
            "size": self.size_bytes,
            "adler32": self.adler32,
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> InputFile:
        data = _object(content, where)
        did = data.get("did")
        return cls(
            name=check_name(_get(data, "name", str, where), where),
            places=tuple(str(place) for place in _get(data, "places", list, where)),
            did=None if did is None else str(did),
            stage=_get(data, "stage", str, where),
            metadata=_get(data, "metadata", dict, where),
            size_bytes=None if data.get("size") is None else _get(data, "size", int, where),
            adler32=None if data.get("adler32") is None else _get(data, "adler32", str, where),
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one attempt is told: read `raw` and the outputs of `earlier` stages, walk `stages`, write into `output_dir`.

    `in_place`: files are read and written where they are. Otherwise (workers elsewhere) the job copies its inputs into a folder of its
    own, works there, and copies its outputs to `output_dir`, which may be a `root://` address; it verifies each copy, and leaves its
    report there too. Kept in a file only its job can read, because it holds the attempt's token.
    """

    attempt: str
    task: str
    campaign: str
    version: str
    stages: tuple[str, ...]
    raw: InputFile
    output_dir: str
    report: str
    earlier: tuple[InputFile, ...] = ()
    service_url: str | None = None
    token: str | None = field(default=None, repr=False)
    in_place: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": ASSIGNMENT_SCHEMA,
            "attempt": self.attempt,
            "task": self.task,
            "campaign": self.campaign,
            "version": self.version,
            "stages": list(self.stages),
            "raw": self.raw.to_json(),
            "earlier": [item.to_json() for item in self.earlier],
            "output_dir": self.output_dir,
            "report": self.report,
            "service_url": self.service_url,
            "token": self.token,
            "in_place": self.in_place,
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> Assignment:
        data = _object(content, where)
        _schema(data, ASSIGNMENT_SCHEMA, where)
        return cls(
            **{key: _get(data, key, str, where) for key in ("attempt", "task", "campaign", "version", "output_dir", "report")},
            stages=tuple(str(stage) for stage in _get(data, "stages", list, where)),
            raw=InputFile.from_json(data.get("raw"), f"{where}: raw"),
            earlier=tuple(InputFile.from_json(item, f"{where}: earlier") for item in _get(data, "earlier", list, where)),
            service_url=data.get("service_url"),
            token=data.get("token"),
            in_place=bool(data.get("in_place", True)),
        )


@dataclass(frozen=True, slots=True)
class Output:
    """A file a stage wrote into the attempt's output folder. `declared`: it has a sidecar and goes into the catalogues."""

    name: str
    size_bytes: int
    adler32: str
    declared: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size_bytes, "adler32": self.adler32, "declared": self.declared}

    @classmethod
    def from_json(cls, content: Any, where: str) -> Output:
        data = _object(content, where)
        return cls(
            name=check_name(_get(data, "name", str, where), where),
            size_bytes=_get(data, "size", int, where),
            adler32=_get(data, "adler32", str, where),
            declared=_get(data, "declared", bool, where),
        )


StageState = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class StageReport:
    """How one stage of an attempt went. Times in seconds since the Unix epoch, CPU seconds and peak memory of the whole process."""

    name: str
    state: StageState
    started: float
    ended: float
    cpu_s: float
    rss_bytes: int
    outputs: tuple[Output, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    error_class: str | None = None
    message: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "error_class": self.error_class,
            "message": self.message,
            "started": self.started,
            "ended": self.ended,
            "cpu_s": self.cpu_s,
            "rss_bytes": self.rss_bytes,
            "outputs": [output.to_json() for output in self.outputs],
            "metrics": self.metrics,
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> StageReport:
        data = _object(content, where)
        state = _get(data, "state", str, where)
        if state not in ("ok", "failed"):
            raise DataError(f"{where}: state {state!r} is neither 'ok' nor 'failed'")
        return cls(
            name=_get(data, "name", str, where),
            state="ok" if state == "ok" else "failed",
            started=_get(data, "started", float, where),
            ended=_get(data, "ended", float, where),
            cpu_s=_get(data, "cpu_s", float, where),
            rss_bytes=_get(data, "rss_bytes", int, where),
            outputs=tuple(Output.from_json(item, f"{where}: outputs") for item in _get(data, "outputs", list, where)),
            metrics=_get(data, "metrics", dict, where),
            error_class=data.get("error_class"),
            message=data.get("message"),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The report an attempt leaves: the only thing that says how it ended."""

    attempt: str
    task: str
    campaign: str
    version: str
    host: str
    stages: tuple[StageReport, ...]

    @property
    def ok(self) -> bool:
        return bool(self.stages) and all(stage.state == "ok" for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": REPORT_SCHEMA,
            "attempt": self.attempt,
            "task": self.task,
            "campaign": self.campaign,
            "version": self.version,
            "host": self.host,
            "stages": [stage.to_json() for stage in self.stages],
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> Report:
        data = _object(content, where)
        _schema(data, REPORT_SCHEMA, where)
        return cls(
            **{key: _get(data, key, str, where) for key in ("attempt", "task", "campaign", "version", "host")},
            stages=tuple(StageReport.from_json(item, f"{where}: stages") for item in _get(data, "stages", list, where)),
        )


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it is no JSON. OSError passes: a file that cannot be read is not the same as a bad one.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write `content` to `path` in one step (a reader sees the old file or the whole new one), readable by us only when `private`."""
    draft = path.with_name(path.name + ".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, allow_nan=False)
        file.write("\n")
    draft.replace(path)


def _object(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected an object, found {type(content).__name__}")
    return content


def _get(data: dict[str, Any], key: str, kind: type[T], where: str) -> T:
    if key not in data:
        raise DataError(f"{where}: {key!r} is missing")
    value = data[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(f"{where}: {key!r} must be {_KIND[kind]}, not {str(value)[:60]!r}")
    return value


def _schema(data: dict[str, Any], expected: int, where: str) -> None:
    if data.get("schema") != expected:
        raise DataError(f"{where}: schema {data.get('schema')!r}, this code reads {expected}")
