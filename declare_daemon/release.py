"""Lets files leave the buffer: declared, older than their stream's lifetime, and with every reason to keep them met or waived.

A file of a stream that is processed and that no campaign has asked for yet is kept too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from declare_daemon.catalogs.protocol import BATCH
from declare_daemon.journal.files import Change, JournalFile, batches, change, fetch, select_files
from declare_daemon.journal.states import FileState
from declare_daemon.journal.tables import file_table, intake_table, obligation_table
from declare_daemon.journal.writer import Journal
from declare_daemon.outage import Outages
from declare_daemon.registrar import AT_ONCE, REPLICA, Step, write_in_halves
from declare_daemon.verdicts import Judge
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.settings import Site, StreamSettings


class Release:
    """Takes files from `declared` to `left`; in between the mover brings them to their stream's `move_to`."""

    def __init__(self, site: Site, journal: Journal, steps: Sequence[Step], judge: Judge, outages: Outages) -> None:
        """`steps` are the registrar's; those that keep replicas are told the new places."""
        self._site, self._journal, self._judge, self._outages = site, journal, judge, outages
        self._steps = [step for step in steps if step.kind == REPLICA]

    def plan(self) -> int:
        """Journal where the files go that may leave now; how many."""
        return sum(self._plan(stream, stream.release.move_to) for stream in self._site.streams if stream.release.move_to is not None)

    def _plan(self, stream: StreamSettings, folder: Path) -> int:
        now = self._journal.now()
        # In one transaction, so that no obligation can be filed between the question and the decision.
        with self._journal.write() as connection:
            files = fetch(connection, may_leave(stream, now).limit(BATCH))
            moves = [Change(file, FileState.LEAVING, {"target": str(folder / file.name), "next_try": 0.0}) for file in files]
            change(connection, moves, now)
        return len(files)

    def finish(self) -> int:
        """Tell the catalogues where moved files are now; how many have left."""
        c = file_table.c
        query = select_files().where(c.state == FileState.LEAVING.value, c.target.is_(None), c.next_try <= self._journal.now())
        with self._journal.read() as connection:
            files = fetch(connection, query.order_by(c.id).limit(AT_ONCE))
        groups: dict[str, list[JournalFile]] = defaultdict(list)
        for file in files:
            groups[file.dataset or ""].append(file)
        left = 0
        for dataset, group in groups.items():
            for batch in batches(group, BATCH):
                left += self._finish(dataset, batch)
        return left

    def _finish(self, dataset: str, files: list[JournalFile]) -> int:
        verdicts = self._judge.verdicts(self._journal.now())
        refused: dict[int, DataError | ConflictError] = {}
        for step in self._steps:
            outage = self._outages.of(step.subject)
            if not outage.due(self._journal.now()):
                return 0
            try:
                refused |= write_in_halves(step, files, dataset)
            except (TransientError, ConfigError) as error:
                outage.failed(error, self._journal.now())
                return 0
        now = self._journal.now()
        for file in files:
            if file.id in refused:
                verdicts.wait(file, f"moved, but its new place is refused: {refused[file.id]}")
            else:
                verdicts.good(file, FileState.LEFT, f"moved to {file.path}", left_at=now)
        with self._journal.write() as connection:
            verdicts.write(connection)
        return verdicts.count(FileState.LEFT)


def may_leave(stream: StreamSettings, now: float) -> sa.Select[tuple[object, ...]]:
    """The query for the files of `stream` that may leave the buffer at `now`, oldest first."""
    c, o = file_table.c, obligation_table.c
    query = select_files().where(
        c.stream == stream.name,
        c.state == FileState.DECLARED.value,
        c.origin == "buffer",
        c.closed_at <= now - stream.lifetime,
        ~sa.exists().where(o.did == c.did, o.met_at.is_(None), o.waived_by.is_(None)),
    )
    if stream.process:
        query = query.where(
            sa.exists().where(o.did == c.did),
            ~sa.exists().where(intake_table.c.file_id == c.id),
        )
    return query.order_by(c.closed_at)
