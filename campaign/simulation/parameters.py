"""The parameters of a simulation: one strict YAML file, or the defaults with a few of them set on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, field_serializer, field_validator, model_validator

from campaign.capacity import APA_EVENT_S, APA_EVENTS, FILE_BYTES
from campaign.retries import POLICIES
from campaign.simulation.distributions import Distribution, Fixed, Lognormal
from campaign.simulation.quantities import ByteRate, LengthS, Share, SizeBytes, WaitS, duration_text
from dune_prompt.errors import ConfigError
from dune_prompt.settings import Strict, load_yaml
from dune_prompt.settings.site import SlotSettings

OUTPUT_BYTES = APA_EVENTS * 2 * 10**6  # a frame after signal processing is about 2 MB compressed
CATALOGUE = "catalogue"


class Spills(Strict):
    """Files come in a part of each period only, as the beam does."""

    every: LengthS = Field(description="the period")
    length: LengthS = Field(description="the part of it in which files come")

    @model_validator(mode="after")
    def _part(self) -> Self:
        if self.length > self.every:
            raise ValueError(f"length ({self.length:g} s) is longer than every ({self.every:g} s)")
        return self


class Runs(Strict):
    """Data are taken in runs."""

    length: LengthS = Field(description="how long a run takes data")
    pause: WaitS = Field(0.0, description="time between two runs")


class Bursts(Strict):
    """Files that come at once, on top of the rate: a transfer that caught up, a calibration."""

    files: int = Field(ge=1, description="files of one burst")
    every: LengthS = Field(description="time between two bursts")
    first: WaitS = Field(0.0, description="when the first one comes")


class StreamParameters(Strict):
    """A kind of file: how it comes, how long a job on it takes, how that fails."""

    name: str = Field("physics", pattern=r"^[a-z0-9_-]+$", description="name of the stream")
    rate: ByteRate | None = Field(None, description="data rate while files come")
    files_per_s: float | None = Field(None, ge=0, description="the same in files; give one of the two, 0: bursts only")
    file_size: SizeBytes = Field(FILE_BYTES, gt=0, description="size of a file")
    arrive: Literal["evenly", "at_random"] = Field("evenly", description="evenly: one after the other; at_random: a Poisson process")
    spills: Spills | None = Field(None, description="files come in a part of each period only; default: all the time")
    runs: Runs | None = Field(None, description="files come in runs; default: one run")
    bursts: Bursts | None = Field(None, description="files that come at once, besides")
    lifetime: LengthS = Field(86400.0, description="how long a file may stay in the buffer")
    min_age: WaitS = Field(3600.0, description="no file leaves younger than this")
    leaves: bool = Field(True, description="processed files leave the buffer at all")
    required: bool = Field(True, description="unprocessed files stay beyond their lifetime")
    sacrifice: bool = Field(False, description="unprocessed files leave when the buffer is too full and nothing else can")
    job_time: Distribution = Field(
        Lognormal(median=f"{APA_EVENTS * APA_EVENT_S}s", sigma=0.25), description="how long a job holds its slot, once it has one"
    )
    time_limit: LengthS | None = Field(None, description="a job that runs longer is ended; raised when it is tried again")
    failures: dict[str, Share] = Field(default_factory=dict, description="share of the attempts that fail, by class of failure")
    retries: int = Field(3, ge=0, le=20, description="how often a failed file is tried again before it is parked")
    output_size: SizeBytes = Field(OUTPUT_BYTES, description="size of what a job makes of a file")
    cpus: int = Field(1, ge=1, description="cores of a job")
    memory: SizeBytes = Field(4 * 10**9, description="memory of a job")
    disk: SizeBytes = Field(20 * 10**9, description="scratch space of a job")

    @field_validator("failures")
    @classmethod
    def _known_classes(cls, failures: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(failures) - set(POLICIES)):
            raise ValueError(f"no class of failure is called {', '.join(unknown)}; there are {', '.join(POLICIES)}")
        if sum(failures.values()) > 1:
            raise ValueError("more attempts fail than there are")
        return failures

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.rate is None) == (self.files_per_s is None):
            raise ValueError("give either rate or files_per_s")
        if self.files_per_s == 0 and self.bursts is None:
            raise ValueError("no file would ever come: files_per_s is 0 and there are no bursts")
        return self

    @property
    def files_hz(self) -> float:
        """Files per second while files come, bursts aside."""
        return self.files_per_s if self.files_per_s is not None else (self.rate or 0.0) / self.file_size

    @property
    def duty(self) -> float:
        """The part of the time in which files come."""
        spills = self.spills.length / self.spills.every if self.spills else 1.0
        return spills * (self.runs.length / (self.runs.length + self.runs.pause) if self.runs else 1.0)

    @property
    def mean_files_hz(self) -> float:
        """Files per second over a long time, pauses and bursts included."""
        return self.files_hz * self.duty + (self.bursts.files / self.bursts.every if self.bursts else 0.0)


class LauncherParameters(Strict):
    """A batch system: how soon it starts jobs, how many, and how soon the engine sees their ends."""

    name: str = Field("batch", pattern=r"^[a-z0-9_-]+$", description="name, for outages")
    slots: int | None = Field(None, ge=1, description="slots it has for us; default: as many as the engine wants")
    latency: Distribution = Field(Fixed(seconds="60s"), description="from a job's submission until it could start")
    cycle: WaitS = Field(0.0, description="jobs are matched once in this time (negotiation cycle); 0: at once")
    starts_per_s: float | None = Field(None, gt=0, description="jobs it starts per second at most")
    submit: WaitS = Field(2.0, description="how long one submission takes")
    slice: int = Field(200, ge=1, description="jobs of one submission at most")
    gather: bool = Field(True, description="files wait while a submission is under way, and go together with the next one")
    poll_every: WaitS = Field(10.0, description="time between two looks at its queue; 0: an end is seen at once")
    reports_pushed: bool = Field(True, description="jobs send their reports: an end is seen at once, even while the batch system is out")
    out_after: int | None = Field(
        3, ge=1, description="submissions refused in a row until the next launcher takes over; null: one that answers at once, as local"
    )
    silent_after: LengthS = Field(300.0, description="time without an answer until the next launcher takes over")


class Outage(Strict):
    """A time in which a launcher, or the catalogue, is out."""

    what: str = Field("batch", description="name of a launcher, or catalogue")
    begin: WaitS = Field(description="when it goes, after the start")
    end: LengthS = Field(description="when it is back")
    jobs: Literal["go_on", "restarted", "lost"] = Field(
        "go_on", description="what becomes of a launcher's jobs: running ones go on, or begin again after it, or all jobs vanish"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(f"begin ({self.begin:g} s) is not before end ({self.end:g} s)")
        return self


class BufferParameters(Strict):
    """The disk buffer."""

    capacity: SizeBytes | None = Field(None, gt=0, description="how much it holds; default: any amount")
    high_water: Share = Field(0.9, description="fuller than this, processed files leave before their lifetime is over, oldest first")
    low_water: Share = Field(0.8, description="until it is no fuller than this")


class EngineParameters(Strict):
    """How fast the engine and the daemon are, and how they set deadlines."""

    interval: LengthS = Field(1.0, description="time between two steps")
    intake: WaitS = Field(2.0, description="from a file's end to its task: found, verified, taken in")
    declare: WaitS = Field(5.0, description="from a job's report to its outputs in the catalogues")
    declares_per_s: float | None = Field(None, gt=0, description="files declared per second at most, as after an outage of the catalogue")
    early_deadlines: bool = Field(True, description="deadlines come before the lifetime is over when the buffer fills up before")


class Parameters(Strict):
    """Everything a simulation needs. Times begin at 0."""

    streams: tuple[StreamParameters, ...] = Field(min_length=1, description="what comes")
    duration: LengthS = Field(7 * 86400.0, description="how long files come")
    patience: LengthS | None = Field(
        None, description="how much longer work goes on; default: until all is done, at most three times as long"
    )
    slots: SlotSettings = Field(default_factory=lambda: SlotSettings(min=1, max=600), description="as in the site file")
    launchers: tuple[LauncherParameters, ...] = Field((LauncherParameters(),), min_length=1, description="batch systems, in order")
    buffer: BufferParameters = Field(BufferParameters(), description="the disk buffer")
    engine: EngineParameters = Field(EngineParameters(), description="engine and daemon")
    outages: tuple[Outage, ...] = Field((), description="what goes wrong in the middle")
    seed: int = Field(1, description="another seed, another luck")

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (("streams", [s.name for s in self.streams]), ("launchers", [item.name for item in self.launchers])):
            if len(set(names)) < len(names):
                raise ValueError(f"{what}: a name is given twice")
        known = {CATALOGUE, *(item.name for item in self.launchers)}
        if unknown := sorted({outage.what for outage in self.outages} - known):
            raise ValueError(f"outages: there is no {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return self

    @field_serializer("slots", mode="wrap")
    def _slots_as_written(self, slots: SlotSettings, default: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = default(slots)
        return content | {name: duration_text(getattr(slots, name)) for name in ("drain_within", "hold")}

    @property
    def ends_by(self) -> float:
        """When the simulation gives up on what is still open."""
        return self.duration + (self.patience if self.patience is not None else 3 * self.duration + 86400.0)


# What is set without its place: it belongs to the first stream, launcher, …
_SHORT = {name: f"streams.0.{name}" for name in StreamParameters.model_fields if name != "name"}
_SHORT |= {"for": "duration", "latency": "launchers.0.latency", "interval": "engine.interval"}


def load_parameters(path: Path) -> Parameters:
    """Read a parameters file.

    Raises:
        ConfigError: naming file, line, key and what is allowed.
    """
    return load_yaml(path.absolute(), Parameters)


def as_yaml(parameters: Parameters) -> str:
    """The parameters as a file that `load_parameters` reads: a prediction can be written down before the run."""
    return yaml.safe_dump(_content(parameters), sort_keys=False, allow_unicode=True)


def _content(parameters: Parameters) -> dict[str, Any]:
    """As it would be written. What is not set is left out, but for `out_after`, where null says something."""
    content = parameters.model_dump(mode="json", exclude_none=True)
    for written, launcher in zip(content["launchers"], parameters.launchers, strict=True):
        written["out_after"] = launcher.out_after
    return content


def place_of(key: str) -> str:
    """The full name of a key: `rate` is `streams.0.rate`.

    Raises:
        ConfigError: there is no such key.
    """
    head = key.partition(".")[0]
    if head in Parameters.model_fields:
        return key
    if head in _SHORT:
        return _SHORT[head] + key.removeprefix(head)
    raise ConfigError(f"{key}: no such parameter; there are {', '.join([*Parameters.model_fields, *sorted(_SHORT)])}")


def changed(parameters: Parameters, values: dict[str, Any]) -> Parameters:
    """The parameters with some of them set, by key (`slots.max`, `rate`, `launchers.0.latency`) as it would be written in a file.

    Raises:
        ConfigError: a key is unknown, or a value not allowed.
    """
    content: Any = _content(parameters)
    for key, value in values.items():
        place = place_of(key)
        if place.startswith("streams."):
            _one_rate_only(content, place)
        _set(content, place.split("."), value, key)
    try:
        return Parameters.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors())
        raise ConfigError(f"{', '.join(f'{key}={value}' for key, value in values.items())}: {problems[:500]}") from None


def _one_rate_only(content: Any, place: str) -> None:
    """Setting the rate one way takes back the other way."""
    _, index, name = place.split(".")[:3]
    other = {"rate": "files_per_s", "files_per_s": "rate"}.get(name)
    if other and index.isdigit() and int(index) < len(content["streams"]):
        content["streams"][int(index)].pop(other, None)


def _set(content: Any, path: list[str], value: Any, key: str) -> None:
    for i, part in enumerate(path):
        if isinstance(content, list):
            if not part.isdigit() or int(part) >= len(content):
                raise ConfigError(f"{key}: {'.'.join(path[:i])} has {len(content)} items, counted from 0")
            place: Any = int(part)
        elif isinstance(content, dict):
            place = part
        else:
            raise ConfigError(f"{key}: {'.'.join(path[:i])} has no {part!r}")
        if i == len(path) - 1:
            content[place] = value
            return
        if isinstance(content, dict) and not isinstance(content.get(place), dict | list):
            content[place] = {}
        content = content[place]
