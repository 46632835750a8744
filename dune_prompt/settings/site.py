"""The site file: the operator's, one per installation."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from pydantic import Field, HttpUrl, model_validator

from dune_prompt.settings.alarms import AlarmSettings, WatchSettings
from dune_prompt.settings.catalogs import CatalogSettings, EmbeddedCatalogSettings
from dune_prompt.settings.launchers import LauncherSettings, LocalLauncherSettings
from dune_prompt.settings.paths import XROOTD, FilePath, StoragePath
from dune_prompt.settings.probe import ProbeSettings
from dune_prompt.settings.units import DurationS, Fraction, SizeBytes
from dune_prompt.settings.yaml_file import Strict, load_yaml


class BufferSettings(Strict):
    """The disk buffer raw files land in."""

    path: StoragePath = Field(description="folder the data acquisition writes into, or its `root://` address")
    worker_url: str | None = Field(None, description="how workers reach that folder; default: its path")
    sentinel: str = Field(".buffer", description="file that is always there: a listing without it is an outage, never absence")
    capacity: SizeBytes | None = Field(None, description="how much the buffer may hold; default: the size of its file system")
    high_water: Fraction = Field(0.9, description="fuller than this, processed files leave before their lifetime is over, oldest first")
    low_water: Fraction = Field(0.8, description="until the buffer is no fuller than this")
    sacrifice: tuple[str, ...] = Field(
        (),
        description="streams whose unprocessed files may leave too when nothing else can and it is too full; logged and shown",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_water > self.high_water:
            raise ValueError(f"low_water ({self.low_water:.0%}) is above high_water ({self.high_water:.0%})")
        return self


class ReleaseSettings(Strict):
    """How a file leaves the buffer when it may; with neither `move_to` nor `delete` it stays."""

    move_to: StoragePath | None = Field(None, description="folder for released files, or its `root://` address on the buffer's server")
    delete: bool = Field(False, description="delete it, once a copy elsewhere has been verified by its checksum")
    min_age: DurationS = Field(3600.0, description="no file leaves younger than this, however full the buffer is")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.delete and self.move_to is not None:
            raise ValueError("give either move_to or delete")
        return self

    @property
    def any(self) -> bool:
        """Whether files of the stream leave at all."""
        return self.delete or self.move_to is not None


class StreamSettings(Strict):
    """A kind of file in the buffer. The first stream whose pattern and `where` fit a file is the file's stream."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$", description="name of the stream, used by campaigns")
    pattern: str = Field(description="file name pattern (shell wildcards)")
    where: dict[str, Any] = Field(default_factory=dict, description="metadata the file must have, such as {dune.daq_test: false}")
    declare_: bool = Field(True, alias="declare", description="register these files in the catalogues")
    process: bool = Field(False, description="a campaign may process these files")
    sidecar: bool = Field(True, description="the data acquisition writes `<name>.json` when a file is closed")
    lifetime: DurationS = Field(86400.0, description="how long a file stays in the buffer; an unprocessed one stays longer")
    release: ReleaseSettings = Field(default_factory=ReleaseSettings, description="what happens to a file that may go")

    def fits(self, name: str, metadata: dict[str, Any]) -> bool:
        """Whether a file of this name and metadata belongs to the stream."""
        return fnmatchcase(name, self.pattern) and all(_same(metadata.get(key), value) for key, value in self.where.items())


def _same(found: Any, wanted: Any) -> bool:
    """`dune.daq_test` is written as true, "True" or "true" by different writers: compare what is meant."""
    if isinstance(wanted, bool):
        return str(found).lower() == str(wanted).lower()
    return bool(found == wanted)


class ServiceSettings(Strict):
    """The service: engine, HTTP interface and dashboard."""

    listen: str = Field("127.0.0.1:8080", pattern=r"^[^:]+:[0-9]{1,5}$", description="address and port to listen on")
    url: HttpUrl | None = Field(None, description="address jobs and people reach the service at; default: made from `listen`")
    interval: DurationS = Field(1.0, description="time between two steps of the engine, and between two scans of the buffer")
    read_only: bool = Field(False, description="the pages only show: nobody can retry, acknowledge, set limits or flag a run through them")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host, int(port)

    @property
    def base_url(self) -> str:
        return str(self.url).rstrip("/") if self.url else f"http://{self.listen}"


class DaemonSettings(Strict):
    """The declare daemon."""

    listen: str | None = Field(
        None, pattern=r"^[^:]+:[0-9]{1,5}$", description="address and port of its `/metrics` and `/health`; default: not served"
    )
    alarm_after: DurationS = Field(60.0, description="an outage that lasts longer is an alarm")
    outbox_grace: DurationS = Field(
        14 * 86400.0, description="outputs of attempts that never counted are removed from the outbox after this time"
    )


class SlotSettings(Strict):
    """How many jobs may run at once."""

    min: int = Field(1, ge=0, description="jobs allowed whatever the backlog")
    max: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, description="jobs allowed at most; default: the machine's cores")
    backlog_goal: int = Field(1, ge=1, description="open tasks that one slot is expected to work off")
    drain_within: DurationS = Field(1800.0, gt=0, description="time in which the backlog is to be worked off, at the job time measured")
    hold: DurationS = Field(300.0, description="fewer slots are wanted only after fewer were enough for this long")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Site(Strict):
    """One installation: buffer, streams, catalogues, store, service, launchers, slots."""

    site: str = Field(pattern=r"^[a-z0-9-]+$", description="name of the installation")
    workspace: FilePath = Field(Path(), validate_default=True, description="folder of the store, jobs, scripts and secrets")
    campaigns: tuple[str, ...] = Field(("campaigns/*.yaml",), description="campaign files, as patterns relative to the site file")
    buffer: BufferSettings = Field(description="the disk buffer")
    streams: tuple[StreamSettings, ...] = Field(min_length=1, description="the kinds of file in the buffer")
    catalogs: tuple[CatalogSettings, ...] = Field(
        (EmbeddedCatalogSettings(kind="embedded"),), description="the catalogues files are registered in, in order"
    )
    store: str | None = Field(None, description="database of ledger and journal; default: SQLite in the workspace")
    service: ServiceSettings = Field(default_factory=ServiceSettings, description="the service")
    daemon: DaemonSettings = Field(default_factory=DaemonSettings, description="the declare daemon")
    launchers: tuple[LauncherSettings, ...] = Field(
        (LocalLauncherSettings(kind="local"),),
        min_length=1,
        description="batch systems, in order of preference; the next one takes over while one is out",
    )
    probe: ProbeSettings | None = Field(None, description="a small known file sent through the whole chain regularly; default: none")
    slots: SlotSettings = Field(default_factory=SlotSettings, description="how many jobs run at once")
    watch: WatchSettings = Field(default_factory=WatchSettings, description="what is looked for, and from when on it is an alarm")
    alarms: AlarmSettings = Field(default_factory=AlarmSettings, description="who is told of alarms, and when nobody is")

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [stream.name for stream in self.streams]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two streams are called {', '.join(sorted(twice))}")
        if unknown := set(self.buffer.sacrifice) - set(names):
            raise ValueError(f"buffer.sacrifice: there is no stream {', '.join(sorted(unknown))}")
        return self

    @model_validator(mode="after")
    def _launchers_once(self) -> Self:
        kinds = [launcher.kind for launcher in self.launchers]
        if twice := {kind for kind in kinds if kinds.count(kind) > 1}:
            raise ValueError(f"launchers: {', '.join(sorted(twice))} is listed twice")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        kinds = [catalog.kind for catalog in self.catalogs]
        if twice := {kind for kind in kinds if kinds.count(kind) > 1}:
            raise ValueError(f"catalogs: {', '.join(sorted(twice))} is listed twice")
        if set(kinds) <= {"rucio"}:
            raise ValueError("catalogs: none of them keeps metadata; list embedded, sam or metacat too")
        order = [kind for kind in ("embedded", "sam", "metacat", "rucio") if kind in kinds]
        if kinds != order:
            raise ValueError(f"catalogs: must be listed in the order {', '.join(order)}: files are registered in that order")
        if self.buffer.path.startswith(XROOTD) and (bare := [stream.name for stream in self.streams if not stream.sidecar]):
            raise ValueError(f"streams: {bare[0]}: sidecar: false needs a mounted buffer, as metadata are read from the file itself")
        return self

    @model_validator(mode="after")
    def _copies_stay(self) -> Self:
        """Nothing is deleted without a copy elsewhere, and nothing moved that Rucio believes where it was."""
        rucio = next((catalog for catalog in self.catalogs if catalog.kind == "rucio"), None)
        if rucio is not None and rucio.place:
            return self
        for stream in self.streams:
            if stream.release.delete:
                raise ValueError(f"streams: {stream.name}: release.delete needs a copy elsewhere: a catalogue rucio with `place: true`")
            if rucio is not None and stream.release.move_to is not None:
                raise ValueError(
                    f"streams: {stream.name}: release.move_to: Rucio cannot be told that a copy has moved; give rucio `place: true`"
                )
        return self

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.workspace / 'dune-prompt.sqlite'}"

    def stream_of(self, name: str, metadata: dict[str, Any]) -> StreamSettings | None:
        """The stream a file belongs to, None when it fits no stream."""
        return next((stream for stream in self.streams if stream.fits(name, metadata)), None)

    def stream(self, name: str) -> StreamSettings | None:
        return next((stream for stream in self.streams if stream.name == name), None)


def load_site(path: Path) -> Site:
    """Read the site file.

    Raises:
        ConfigError: naming file, line, key and what is allowed.
    """
    return load_yaml(path.absolute(), Site)
