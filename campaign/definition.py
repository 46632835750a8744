"""The campaign file: the physicist's. One payload applied to one stream; kept in git."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from declare_daemon.catalogs import Keeping
from dune_prompt.errors import ConfigError
from dune_prompt.records import MadeBy
from dune_prompt.settings import Site, Strict, load_yaml
from dune_prompt.settings.paths import FilePath
from dune_prompt.settings.units import DurationS, Fraction, SizeBytes
from stages.displays import MAX_RECORDS

FINAL_STAGE = "evaluate"  # its record is a declared child and ends the chain; dqm_upload may be repeated


class RecallSettings(Strict):
    """Inputs that are on tape only may be read back, so much and no more."""

    rse: str = Field(pattern=r"^\S+$", description="RSE expression of the disk storage they are copied to")
    lifetime: DurationS = Field(2 * 86400.0, description="how long they are kept there")
    most: SizeBytes = Field(5 * 10**12, description="no more than this is asked back from tape by this version, in all")
    at_once: int = Field(500, ge=1, le=10_000, description="files that may be on their way from tape at the same time")


DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+:[A-Za-z0-9][A-Za-z0-9_.-]*(\*[A-Za-z0-9_.-]*)?$")]


class InputSettings(Strict):
    """Which files of the stream this version covers."""

    from_run: int | None = Field(None, ge=0, description="first run")
    to_run: int | None = Field(None, ge=0, description="last run")
    exclude_runs: tuple[int, ...] = Field((), description="runs left out")
    where: dict[str, Any] = Field(default_factory=dict, description="metadata an input must have")
    datasets: tuple[DatasetName, ...] = Field(
        (), description="datasets of files that others declared, `namespace:name`; one `*` stands for the run; default: the journal's files"
    )
    recall: RecallSettings | None = Field(None, description="read inputs back that are on tape only; default: they are parked")

    @property
    def bounded(self) -> bool:
        """Whether it leaves out some files of the stream."""
        return self.model_copy(update={"datasets": (), "recall": None}) != InputSettings()

    def covers(self, run: int, metadata: dict[str, Any]) -> bool:
        """Whether a file of `run` with `metadata` is an input."""
        return (
            (self.from_run is None or run >= self.from_run)
            and (self.to_run is None or run <= self.to_run)
            and run not in self.exclude_runs
            and all(metadata.get(key) == value for key, value in self.where.items())
        )


class StageLimits(Strict):
    """What a job of a stage may use."""

    memory: SizeBytes = Field(4 * 10**9, description="a job whose processes hold more is ended")
    lifetime: DurationS = Field(7200.0, description="a job that runs longer is ended")
    cpus: int = Field(1, ge=1, le=64, description="cores a job of the stage is given")
    disk: SizeBytes = Field(20 * 10**9, description="scratch space a job of the stage is given")


FhiclPath = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+\])*$")]


class CommandSettings(Strict):
    """The payload command: a program of your own."""

    run: tuple[str, ...] = Field(
        min_length=1, description="the program and its arguments; {input}, {output}, {report}, {detector}, {gain}, {cpus} are filled in"
    )
    outputs: dict[str, str] = Field(min_length=1, description="what it makes: a name for each output, and the pattern of its file")
    environment: dict[str, str] = Field({}, description="variables the program sees besides PATH, HOME, TMPDIR and LANG")
    timeout: DurationS = Field(3600.0, gt=0, description="a program that runs longer is ended")


class LarsoftSettings(Strict):
    """The payload larsoft: DUNE's LArSoft."""

    setup: str = Field(
        "/cvmfs/dune.opensciencegrid.org/products/dune/setup_dune.sh", pattern=r"^/[^\x00\n]+$", description="script that is sourced first"
    )
    release: str = Field(pattern=r"^v[A-Za-z0-9_]+$", description="release of dunesw, such as v09_91_02d01")
    qualifiers: str = Field("e26:prof", pattern=r"^[A-Za-z0-9:]+$", description="its qualifiers")
    fcl: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.fcl$", description="job file")
    overrides: dict[FhiclPath, Any] = Field({}, description="parameters of the job file that are changed: path and value")
    elec_gain_path: FhiclPath | None = Field(None, description="path of the parameter that gets gain_mV_per_fC")
    what: str = Field("reco_stage1", pattern=r"^[a-z0-9_]{1,40}$", description="what the output is called in file names")
    container: str | None = Field(None, description="image that apptainer runs it in; none: as it is on the worker")
    bind: tuple[str, ...] = Field((), description="folders the container sees besides those of the job")
    stream: bool = Field(False, description="read an input at root:// over the network instead of copying it")
    timeout: DurationS = Field(7200.0, gt=0, description="a lar that runs longer is ended")


class WirecellSettings(Strict):
    """The payload wirecell: the Wire-Cell Toolkit."""

    program: str = Field("wire-cell", description="its name on the PATH, or its path")
    path: tuple[str, ...] = Field((), description="folders of its configuration and data (WIRECELL_PATH); none: the environment's")
    setup: str | None = Field(None, pattern=r"^/[^\x00\n]+$", description="script that is sourced first, as for CVMFS")
    container: str | None = Field(None, description="image that apptainer runs it in; none: as it is on the worker")
    bind: tuple[str, ...] = Field((), description="folders the container sees besides those of the job")
    l1sp: bool = Field(False, description="the L1SP fit of unipolar signals on U and V after signal processing")
    timeout: DurationS = Field(7200.0, gt=0, description="a wire-cell that runs longer is ended")


class NfSpSettings(StageLimits):
    """Noise filtering and signal processing."""

    payload: Literal["numpy", "wirecell", "larsoft", "command", "noop"] = Field(
        "numpy",
        description="numpy: the embedded payload; wirecell, larsoft: those programs; command: one of your own; noop: nothing, to measure",
    )
    wirecell: WirecellSettings | None = Field(None, description="for payload wirecell; default: its defaults")
    larsoft: LarsoftSettings | None = Field(None, description="for payload larsoft")
    command: CommandSettings | None = Field(None, description="for payload command")
    seconds: float = Field(0.0, ge=0, le=3600, description="how long the noop payload takes")
    gain_mV_per_fC: float = Field(14.0, description="gain of the cold electronics: 14.0 or 7.8")  # noqa: N815 - the unit's name
    keep: tuple[Literal["nf"], ...] = Field((), description="nf: also keep the noise-filtered frame")
    response: str | None = Field(
        None,
        pattern="^/",
        description="numpy: a file on the workers with the response of the wires, instead of ProtoDUNE-HD's; its results are marked",
    )

    @field_validator("gain_mV_per_fC")
    @classmethod
    def _known_gain(cls, gain: float) -> float:
        if gain not in (14.0, 7.8):
            raise ValueError("the cold electronics have 14.0 or 7.8 mV/fC")
        return gain

    @model_validator(mode="after")
    def _settings_of_the_payload(self) -> Self:
        for name in ("wirecell", "larsoft", "command"):
            if getattr(self, name) is not None and self.payload != name:
                raise ValueError(f"{name} is set, but the payload is {self.payload}")
        if self.payload in {"larsoft", "command"} and getattr(self, self.payload) is None:
            raise ValueError(f"payload {self.payload} needs its settings, {self.payload}: {{…}}")
        return self


class DeclareSettings(StageLimits):
    """Check and seal the outputs for the catalogues."""


class DisplaySettings(Strict):
    """Event displays: pictures of the planes for people, of some files only."""

    every: int = Field(20, ge=0, description="files whose index is a multiple of this have them; 0: none")
    records: int = Field(1, ge=1, le=MAX_RECORDS, description="of so many trigger records, the first usable ones")
    # The dashboard takes 100 MB in one upload, up to 20 MB of them for the record.
    budget: SizeBytes = Field(
        8 * 10**6, le=80 * 10**6, description="bytes of all pictures of a file; ticks share pixels, or pictures are left out, to keep it"
    )


class EvaluateSettings(StageLimits):
    """Data-quality numbers and event displays."""

    displays: DisplaySettings = Field(default_factory=DisplaySettings, description="event displays")


class OwnTarget(Strict):
    """The dashboard of this installation."""

    kind: Literal["own"] = Field(description="which target")


class DirectoryTarget(Strict):
    """A folder, for other pages to read."""

    kind: Literal["directory"] = Field(description="which target")
    path: FilePath = Field(description="the folder")


Target = Annotated[OwnTarget | DirectoryTarget, Field(discriminator="kind")]


class DqmUploadSettings(StageLimits):
    """Upload of the data-quality record and its pictures."""

    targets: tuple[Target, ...] = Field(
        (OwnTarget(kind="own"),), min_length=1, description="where to; each is acknowledged and retried alone"
    )


class StageSettings(Strict):
    """The four stages, in the order they run."""

    nf_sp: NfSpSettings = Field(default_factory=NfSpSettings, description="noise filtering and signal processing")
    declare: DeclareSettings = Field(default_factory=DeclareSettings, description="sealing of the outputs")
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings, description="data-quality numbers")
    dqm_upload: DqmUploadSettings = Field(default_factory=DqmUploadSettings, description="upload to the data-quality pages")

    def limits(self, name: str) -> StageLimits:
        limits: StageLimits = getattr(self, name)
        return limits


class OutputSettings(Strict):
    """How the derived files are called, kept and placed."""

    namespace: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="namespace (Rucio scope) of the derived files")
    data_tier: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="core.data_tier; it must be known to the catalogues")
    place: FilePath | None = Field(None, description="folder the outputs go to; default: `outbox` in the workspace")
    worker_url: str | None = Field(
        None, pattern=r"^(root://[^/\s]+/)?/[^\s]+$", description="how workers elsewhere reach that folder, `root://…`; default: its path"
    )
    rse: str | None = Field(
        None, pattern=r"^[A-Z0-9]+([_-][A-Z0-9]+)*$", description="storage element the outputs count as in Rucio; default: that of the site"
    )
    rules: tuple[str, ...] = Field((), description="RSE expressions; Rucio keeps or makes one copy for each; default: no rule")
    lifetime: DurationS | None = Field(None, description="how long the rules keep the outputs; default: for ever")

    @property
    def keeping(self) -> Keeping:
        """How the datasets of the outputs are kept."""
        return Keeping(self.rse, self.rules, self.lifetime)


class CanarySettings(Strict):
    """The part of its inputs that a version is tried on, beside the version before it, until it is promoted or dropped."""

    fraction: Fraction | None = Field(None, gt=0, description="of the inputs, chosen by their names: a file is always in, or always out")
    last: int | None = Field(None, ge=1, le=1000, description="this many files: the newest ones when the version begins")

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.fraction is None) == (self.last is None):
            raise ValueError("say either fraction, such as 10%, or last, such as 50")
        return self


class PoisonSettings(Strict):
    """When a campaign is paused because its jobs fail for one and the same reason."""

    last: int = Field(20, ge=3, le=1000, description="the jobs that are looked at: the last ones that ended")
    fraction: Fraction = Field(0.8, gt=0, description="the campaign is paused when so many of them failed in the same way")


class Campaign(Strict):
    """One payload applied to one stream of raw files."""

    campaign: str = Field(pattern=r"^[a-z0-9-]+$", max_length=64, description="name of the campaign")
    detector: Literal["pdhd", "pdvd"] = Field(description="ProtoDUNE-HD or ProtoDUNE-VD")
    stream: str = Field(description="stream of the site file whose files are the inputs")
    version: str = Field(pattern=r"^[A-Za-z0-9.-]+$", max_length=64, description="of the payload; (campaign, version) identifies results")
    required: bool = Field(False, description="inputs stay in the buffer until this version has processed them")
    inputs: InputSettings = Field(default_factory=InputSettings, description="which files this version covers")
    canary: CanarySettings | None = Field(None, description="try the version on a part of its inputs first; default: it covers them all")
    layout: Literal["fused", "staged"] = Field("fused", description="fused: one job walks all stages; staged: a job for each stage")
    stages: StageSettings = Field(default_factory=StageSettings, description="settings of the stages")
    outputs: OutputSettings = Field(description="the derived files")
    retries: int = Field(3, ge=0, le=20, description="how often a failed task is tried again before it is parked")
    poison: PoisonSettings = Field(default_factory=PoisonSettings, description="pauses the campaign when its jobs fail for one reason")

    @model_validator(mode="after")
    def _runs_ordered(self) -> Self:
        if self.inputs.from_run is not None and self.inputs.to_run is not None and self.inputs.from_run > self.inputs.to_run:
            raise ValueError(f"inputs.from_run ({self.inputs.from_run}) is after inputs.to_run ({self.inputs.to_run})")
        return self

    @property
    def made_by(self) -> MadeBy:
        """Who a raw file's final child must be made by for the file to count as processed."""
        return MadeBy(self.campaign, self.version, FINAL_STAGE)


@dataclass(frozen=True, slots=True)
class CampaignFile:
    """A campaign as read from its file. `file_hash` is the SHA-256 of the file: it goes into every output's provenance."""

    path: Path
    settings: Campaign
    file_hash: str


def load_campaign(path: Path) -> CampaignFile:
    """Read a campaign file.

    Raises:
        ConfigError: naming file, line, key and what is allowed.
    """
    settings = load_yaml(path.absolute(), Campaign)
    return CampaignFile(path.absolute(), settings, hashlib.sha256(path.read_bytes()).hexdigest())


def load_campaigns(site: Site, site_path: Path) -> list[CampaignFile]:
    """All campaigns of a site, checked against its streams.

    Raises:
        ConfigError: there is none, one names a stream that does not exist or is not processed, or two are the same.
    """
    folder = site_path.absolute().parent
    paths = sorted({path for pattern in site.campaigns for path in folder.glob(pattern)})
    if not paths:
        raise ConfigError(f"{site_path}: campaigns: no file matches {', '.join(site.campaigns)} in {folder}")
    campaigns = [load_campaign(path) for path in paths]
    seen: dict[tuple[str, str], Path] = {}
    for item in campaigns:
        stream = site.stream(item.settings.stream)
        if stream is None:
            known = ", ".join(stream.name for stream in site.streams)
            raise ConfigError(f"{item.path}: stream: {item.settings.stream!r} is not in {site_path}; there are: {known}")
        if not stream.process:
            raise ConfigError(f"{item.path}: stream: {stream.name!r} has `process: false` in {site_path}")
        key = (item.settings.campaign, item.settings.version)
        if key in seen:
            raise ConfigError(f"{item.path}: campaign {key[0]} version {key[1]} is also in {seen[key]}")
        seen[key] = item.path
    return campaigns
