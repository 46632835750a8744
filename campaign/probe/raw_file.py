"""The probe's raw file: always the same content, made in the workspace and put into the buffer as the data acquisition does it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from declare_daemon.storage import copy, exists, sidecar_of, storage_of, within
from declare_daemon.storage.places import part_of
from dune_prompt.errors import ConfigError, TransientError
from dune_prompt.records import FileRecord
from dune_prompt.settings import Site, StreamSettings
from dune_prompt.settings.probe import ProbeSettings

SEED = 20_260_101
# The same index each time: the generator's numbers depend on it. The time in the name tells the files apart.
FILE_INDEX = 0


@dataclass(frozen=True, slots=True)
class ProbeFile:
    """A file in the workspace, ready to be sent. `raw` says what is in it: equal for equal content."""

    path: Path
    record: FileRecord
    raw: str


def content_of(settings: ProbeSettings, detector: str) -> str:
    """What is in the file, as a short text."""
    return f"{detector}-{settings.frames}-frames-seed-{SEED}"


def make(folder: Path, settings: ProbeSettings, stream: StreamSettings, detector: str, now: float) -> ProbeFile:
    """Make the file in `folder`, which is emptied before.

    Raises:
        TransientError: the folder cannot be written.
    """
    from stages.rawdata.generator import RunSpec, generate_file
    from stages.rawdata.metadata import describe

    spec = RunSpec(
        detector=detector,
        run=settings.run,
        frames=settings.frames,
        seed=SEED,
        data_stream=str(stream.where.get("core.data_stream", "cosmics")),
        test_run=str(stream.where.get("dune.daq_test", False)).lower() == "true",
        sidecar="none",
    )
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path = generate_file(folder, spec, FILE_INDEX, now=now)
    except OSError as error:
        raise TransientError(f"{error.filename or folder}: {error.strerror}") from None
    record = describe(path)
    # Nobody shall take it for physics.
    record = replace(record, metadata=record.metadata | {"retention.class": "other"})
    return ProbeFile(path, record, content_of(settings, detector))


def check_stream(site: Site, settings: ProbeSettings, record: FileRecord) -> None:
    """Raises ConfigError unless the file will be taken for one of the probe's stream."""
    found = site.stream_of(record.name, record.metadata)
    if found is None or found.name != settings.stream:
        fits = "no stream" if found is None else f"stream {found.name!r}"
        raise ConfigError(f"probe: its file {record.name} fits {fits}, not {settings.stream!r}: look at the stream's pattern and where")


def send(site: Site, stream: StreamSettings, file: ProbeFile) -> None:
    """Put the file into the buffer: the data first, then its sidecar, each in one step. May be repeated.

    Raises:
        TransientError: the buffer is away; `clean` takes away what is there of it.
    """
    place = within(site.buffer.path, file.record.name)
    try:
        if not exists(within(site.buffer.path, site.buffer.sentinel)):
            raise TransientError(f"{site.buffer.path}: the sentinel {site.buffer.sentinel} is missing, so this is not the buffer")
        copy(str(file.path), place, (file.record.size_bytes, file.record.adler32))
        if stream.sidecar:
            storage_of(place).write(sidecar_of(place), json.dumps(file.record.to_json()).encode() + b"\n")
    except OSError as error:
        raise TransientError(f"{error.filename or place}: {error.strerror}") from None


def clean(site: Site, stream: StreamSettings, name: str, *, known: bool) -> bool:
    """Take away what a probe that died left in the buffer; whether there was something.

    A file that the journal knows (`known`), or that is whole, is the daemon's: it goes the way of all files.
    """
    place = within(site.buffer.path, name)
    removed = False
    try:
        for part in (part_of(place), part_of(sidecar_of(place))):
            if exists(part):
                storage_of(part).remove(part)
                removed = True
        if stream.sidecar and not known and exists(place) and not exists(sidecar_of(place)):
            storage_of(place).remove(place)
            removed = True
    except OSError as error:
        raise TransientError(f"{error.filename or place}: {error.strerror}") from None
    return removed
