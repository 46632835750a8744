"""What the shown file is laid over: the reference run of its detector and run type, or any other run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from dashboard.dqm.tables import run_table
from dashboard.kept import Kept
from dashboard.quality.references import Reference, ReferencePlane, read_reference, reference_of_run
from dashboard.quality.run_page.choice import NOTHING
from dashboard.runs.head import RunHead

RUNS_KEPT = 6


@dataclass(frozen=True, slots=True)
class Comparison:
    """`run`: what is laid over, None: nothing; `reference`: the run that is the reference, whether laid over or not; `files`: how many
    files of the run it is made of; `problem`: why there is nothing of the run that was asked for."""

    run: int | None
    reference: Reference | None
    planes: Mapping[tuple[str, str], ReferencePlane] = field(default_factory=dict)
    files: int = 0
    problem: str = ""

    @property
    def is_reference(self) -> bool:
        return self.run is not None and self.reference is not None and self.run == self.reference.run

    @property
    def words(self) -> str:
        """`reference run 28001`, `run 27999`."""
        return "" if self.run is None else f"{'reference ' if self.is_reference else ''}run {self.run}"


class ComparisonReader:
    """Reads what is laid over, and keeps the last few runs that were asked for."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._kept: Kept[tuple[str, str, int, float], Reference | None] = Kept(RUNS_KEPT)

    def read(self, connection: sa.Connection, head: RunHead, wanted: str | None) -> Comparison:
        """What `wanted` names: a run, `none`, or (None) the reference run."""
        reference = read_reference(connection, self._workspace, head.detector, head.run_type)
        if wanted == NOTHING:
            return Comparison(None, reference)
        if reference is not None and wanted in (None, str(reference.run)):
            return Comparison(reference.run, reference, reference.planes, reference.files)
        if wanted is None:
            return Comparison(None, None)
        if not wanted.isdecimal() or len(wanted) > 9:
            return Comparison(None, reference, problem=f"{wanted[:20]!r} is no run number")
        run = int(wanted)
        other = self._run(connection, head, run)
        if other is None:
            return Comparison(None, reference, problem=f"{head.campaign} {head.version} has no data quality of run {run}")
        return Comparison(run, reference, other.planes, other.files)

    def _run(self, connection: sa.Connection, head: RunHead, run: int) -> Reference | None:
        r = run_table.c
        of_run = (r.campaign == head.campaign, r.version == head.version, r.run == run)
        # As of its last roll-up: that a record came is no reason to read two hundred of them again.
        at = connection.execute(sa.select(r.rolled_at).where(*of_run)).scalar_one_or_none()
        if at is None:
            return None
        key = (head.campaign, head.version, run, at)
        return self._kept.get(key, lambda: reference_of_run(connection, self._workspace, head.campaign, head.version, run))
