"""The files of a run that have a record, in the order of writing, and those that have none yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from campaign.layout import last_step
from campaign.ledger.tables import campaign_table, task_table
from dashboard.dqm.results import ResultRow, RunResults, read_results
from dashboard.kept import Kept
from dashboard.runs.head import RunHead
from dune_prompt.records import split_did

# A run of 12,000 files takes some 30 MB.
RUNS_KEPT = 3


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run that have a record. `names` without their namespace; `places`: where a name stands."""

    results: RunResults
    names: list[str]
    places: dict[str, int]
    flags: NDArray[np.int8]

    @property
    def rows(self) -> Sequence[ResultRow]:
        return self.results.rows

    def element(self, name: str | None) -> int | None:
        """The place of an element among the scalars; None when no file has it."""
        return self.results.elements.index(name) if name in self.results.elements else None


class RunFilesReader:
    """Reads the files of a run, and keeps those of the last few runs.

    While records come in, what was read is kept until the next roll-up, some seconds later: a long run is not read anew for each record.
    """

    def __init__(self) -> None:
        self._kept: Kept[tuple[str, str, int, str, float], RunFiles] = Kept(RUNS_KEPT)

    def read(self, connection: sa.Connection, head: RunHead, file: str | None) -> RunFiles:
        """The files; read anew when the one that was asked for, `file`, is not among them yet."""
        rolled = head.rolled
        if rolled is None:
            return _of(RunResults([], [], np.empty((0, 0, 0, 0), np.float32)))

        def anew() -> RunFiles:
            return _of(read_results(connection, head.campaign, head.version, head.run))

        of_run = (head.campaign, head.version, head.run)
        now = (*of_run, "received", rolled.received_at)
        # A run that is being rolled up, or never was, has no time.
        files = self._kept.get((*of_run, "rolled", rolled.rolled_at) if rolled.rolled_at else now, anew)
        return self._kept.get(now, anew) if rolled.stale and file is not None and file not in files.places else files


def _of(results: RunResults) -> RunFiles:
    names = [row.input_did.rpartition(":")[2] for row in results.rows]
    flags = np.array([row.flag for row in results.rows], dtype=np.int8)
    return RunFiles(results, names, {name: at for at, name in enumerate(names)}, flags)


@dataclass(frozen=True, slots=True)
class FileWithout:
    """A file the ledger knows and that has no record (yet)."""

    name: str
    file_index: int | None


def read_files_without(connection: sa.Connection, head: RunHead, files: RunFiles) -> list[FileWithout]:
    """The files of a run without a record. The ledger is asked only when it has more files than there are records."""
    known = head.progress.counts.files if head.progress else 0
    if known <= len(files.names):
        return []
    k, t = campaign_table.c, task_table.c
    campaign = connection.execute(sa.select(k.id, k.layout).where(k.name == head.campaign, k.version == head.version)).one()
    statement = sa.select(t.input_did, t.file_index).where(
        t.campaign_id == campaign.id, t.run == head.run, t.step == last_step(campaign.layout)
    )
    named = ((split_did(did)[1], index) for did, index in connection.execute(statement))
    return [FileWithout(name, index) for name, index in named if name not in files.places]
