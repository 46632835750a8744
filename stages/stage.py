"""The protocol of a stage: what it is told, what it gives back, and where its code is."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from dune_prompt.errors import ConfigError
from dune_prompt.records import InputFile
from stages.errors import InputAwayError

STAGES = {
    "nf_sp": "stages.nf_sp.stage",
    "declare": "stages.declare",
    "evaluate": "stages.evaluate.stage",
    "dqm_upload": "stages.dqm_upload.stage",
}


def find(item: InputFile) -> Path:
    """The first of the file's places on a mounted file system where it is; files move while jobs wait.

    Raises:
        InputAwayError: it is at none of them.
    """
    for place in item.places:
        if "://" not in place and (path := Path(place)).is_file():
            return path
    raise InputAwayError(f"{item.name}: not found at {' or '.join(item.places) or 'any place'}")


@dataclass(frozen=True, slots=True)
class Payload:
    """What is fixed for every job of a campaign's version: it is rendered into the stage script.

    `stages` holds the settings of each stage as the campaign file has them, `outputs` those of its outputs
    (`namespace`, `data_tier`), `file_hash` the SHA-256 of the campaign file, `files` what was rendered for the payload of `nf_sp`
    (configurations, wrappers), by name.
    """

    campaign: str
    version: str
    detector: str
    file_hash: str
    code_version: str
    outputs: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageContext:
    """What one run of a stage is told.

    `files` are the outputs of the stages before it, by stage; `output_dir` is the attempt's own folder. `locate` brings an input within
    reach: it finds it, or copies it in. `progress` is told how many trigger records of how many are done.
    """

    name: str
    payload: Payload
    attempt: str
    raw: InputFile
    files: Mapping[str, tuple[Path, ...]]
    output_dir: Path
    service_url: str | None = None
    token: str | None = field(default=None, repr=False)
    locate: Callable[[InputFile], Path] = field(default=find, repr=False)
    progress: Callable[[int, int], None] = field(default=lambda done, of: None, repr=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The stage's part of the campaign file."""
        return self.payload.stages.get(self.name, {})

    def raw_path(self) -> Path:
        """Where the raw file is now.

        Raises:
            InputAwayError: it can be read at none of its places.
        """
        return self.locate(self.raw)

    def file_of(self, stage: str, suffix: str) -> Path:
        """The output of an earlier stage whose name ends with `suffix`."""
        for path in self.files.get(stage, ()):
            if path.name.endswith(suffix):
                return path
        raise ConfigError(f"{self.name}: stage {stage} gave no file ending with {suffix}; it must run before {self.name}")


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage made: file names in the output folder (a file with a sidecar beside it goes into the catalogues), and numbers.

    `sealed` are files of earlier stages, where they lie, that the stage found complete: the report lists them as its outputs.
    """

    files: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    sealed: tuple[Path, ...] = ()


class Stage(Protocol):
    """A stage's module: one function. It raises `DataError`, `TransientError`, `ConfigError` or `ConflictError` when it cannot."""

    def run(self, context: StageContext) -> StageResult: ...


def load(name: str) -> Stage:
    """The module of stage `name`; loaded only now, so that a job pays for nothing it does not run."""
    if name not in STAGES:
        raise ConfigError(f"no stage {name!r}; there are: {', '.join(STAGES)}")
    return cast(Stage, importlib.import_module(STAGES[name]))
