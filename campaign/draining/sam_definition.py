"""The SAM definition of a version's open inputs. It drains by itself: as the final children are declared, their parents leave it.

POMS takes such a definition as the input of a stage. Pure text, no server is asked. The language is that of `declare_daemon`'s
`catalogs/sam_dims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from declare_daemon.catalogs.sam_dims import ANYWHERE, quoted, selection, undone
from dune_prompt.errors import ConfigError
from dune_prompt.records import MadeBy

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class SamDefinition:
    """A definition: its name, which is the same for the same question, and its dimensions text."""

    name: str
    dimensions: str


def of_runs(run_type: str, made_by: MadeBy, runs: Sequence[int] = (), data_tier: str = "raw") -> SamDefinition:
    """The files of `run_type` (of these `runs`, or of all) that (campaign, version, stage) has still to make a child of."""
    selected = f"data_tier {quoted(data_tier)} and run_type {quoted(run_type)}"
    if runs:
        selected += f" and run_number {','.join(str(run) for run in sorted(set(runs)))}"
    which = "all" if not runs else str(min(runs)) if len(set(runs)) == 1 else f"{min(runs)}-{max(runs)}-{len(set(runs))}"
    return _definition(f"( {selected} )", f"{run_type}_{which}", made_by)


def of_dataset(dataset: str, made_by: MadeBy) -> SamDefinition:
    """The same for the files of a dataset, or of all datasets that fit it when it has a `*` for the run."""
    return _definition(selection(dataset), dataset.replace(":", "_").replace("*", "all"), made_by)


def slice_of(definition: SamDefinition, files: int, minus_snapshot: int | None = None) -> str:
    """At most `files` of a definition, without those of a snapshot handed out before (POMS's `drainingn`)."""
    without = "" if minus_snapshot is None else f" minus snapshot_id {minus_snapshot}"
    return f"defname: {definition.name}{without} with limit {files}"


def _definition(files: str, which: str, made_by: MadeBy) -> SamDefinition:
    name = f"{made_by.campaign}_{made_by.version}_{made_by.stage}_open_{which}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"SAM: {name[:120]!r} cannot be a definition's name: letters, digits, '_', '.', '-' only")
    return SamDefinition(name, f"{undone(files, made_by)} {ANYWHERE}")
