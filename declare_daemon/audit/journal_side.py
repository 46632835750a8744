"""What the journal says of the files of one dataset: all but their metadata, which take most of the room and are compared nowhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from declare_daemon.catalogs.protocol import AS_CONFIGURED, Keeping
from declare_daemon.journal import queue
from declare_daemon.journal.datasets import keepings
from declare_daemon.journal.files import BATCH, JournalFile
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import PRESENT, FileState
from declare_daemon.journal.tables import file_table, queue_table
from declare_daemon.registration.pauses import Waiver, waivers
from declare_daemon.registration.steps import Key, Step
from dune_prompt.records import MadeBy

# In these the catalogues should all know a file.
_REGISTERED = frozenset({FileState.DECLARED, FileState.LEAVING, FileState.LEFT})

# Registration takes files in these.
TAKES_STEPS = frozenset({FileState.VERIFIED, FileState.DECLARED, FileState.LEFT})

_COLUMNS = [file_table.c[item.name] for item in fields(JournalFile) if item.name != "metadata"]


@dataclass(frozen=True, slots=True)
class JournalSide:
    """The journal's side of a dataset."""

    dataset: str
    keeping: Keeping = AS_CONFIGURED
    files: Sequence[JournalFile] = ()
    confirmed: Mapping[int, Mapping[Key, float]] = field(default_factory=dict)
    waivers: Mapping[int, Mapping[str, Waiver]] = field(default_factory=dict)
    queued: Collection[int] = frozenset()
    makers: Mapping[int, MadeBy] = field(default_factory=dict)

    def expects(self, file: JournalFile, step: Step) -> bool:
        """Whether the journal says that a catalogue has confirmed `step` of `file`, or should have."""
        if not step.applies_to(file):
            return False
        done = step.key in self.confirmed.get(file.id, {})
        if file.state in _REGISTERED:
            return done or step.catalog not in self.waivers.get(file.id, {})
        return done and file.state is FileState.VERIFIED


def datasets_of(connection: sa.Connection, run: int | None) -> dict[str, set[int | None]]:
    """The datasets of the files of `run` (None: of all files), each with the runs of these files."""
    c = file_table.c
    query = sa.select(c.dataset, c.run).where(c.dataset.is_not(None), c.did.is_not(None)).distinct()
    found: dict[str, set[int | None]] = defaultdict(set)
    for dataset, number in connection.execute(query if run is None else query.where(c.run == run)):
        found[dataset].add(number)
    return dict(sorted(found.items()))


def journal_side(connection: sa.Connection, dataset: str, runs: Collection[int | None]) -> JournalSide:
    """What the journal knows of the files of `dataset` in these runs."""
    c = file_table.c
    numbers = [number for number in runs if number is not None]
    of_runs = [c.run.in_(batch) for batch in batches(numbers, BATCH)] + ([c.run.is_(None)] if None in runs else [])
    mine = [condition & (c.dataset == dataset) & c.did.is_not(None) for condition in of_runs]
    files = [file for condition in mine for file in _fetch(connection, condition)]
    ids = [file.id for file in files]
    return JournalSide(
        dataset=dataset,
        keeping=keepings(connection, [dataset]).get(dataset, AS_CONFIGURED),
        files=files,
        confirmed=queue.confirmed(connection, ids),
        waivers=waivers(connection, ids),
        queued=_queued(connection, ids),
        makers={file_id: maker for condition in mine for file_id, maker in _makers(connection, condition)},
    )


def undeclared_files(connection: sa.Connection, run: int | None) -> list[JournalFile]:
    """The files that are to be on disk and belong to no dataset yet."""
    c = file_table.c
    condition = c.dataset.is_(None) & c.state.in_([state.value for state in PRESENT])
    return _fetch(connection, condition if run is None else condition & (c.run == run))


def as_now(connection: sa.Connection, ids: Iterable[int]) -> dict[int, JournalFile]:
    """These files as they are now."""
    return {file.id: file for batch in batches(ids, BATCH) for file in _fetch(connection, file_table.c.id.in_(batch))}


def known_dids(connection: sa.Connection, dids: Iterable[str]) -> set[str]:
    """Those of `dids` that the journal knows, in whatever dataset or state."""
    c = file_table.c
    return {did for batch in batches(dids, BATCH) for did in connection.execute(sa.select(c.did).where(c.did.in_(batch))).scalars()}


def states_of_names(connection: sa.Connection, origin: str, names: Iterable[str]) -> dict[str, FileState]:
    """The states of the files of these names that the journal knows."""
    c = file_table.c
    query = sa.select(c.name, c.state).where(c.origin == origin)
    rows = [row for batch in batches(names, BATCH) for row in connection.execute(query.where(c.name.in_(batch)))]
    return {row.name: FileState(row.state) for row in rows}


def _fetch(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[JournalFile]:
    query = sa.select(*_COLUMNS).where(condition).order_by(file_table.c.id)
    return [_file(row) for row in connection.execute(query).mappings()]


def _file(row: Mapping[Any, Any]) -> JournalFile:
    values = {**row, "state": FileState(row["state"]), "parents": tuple(row["parents"] or ()), "metadata": {}}
    return JournalFile(**values)


def _queued(connection: sa.Connection, ids: Iterable[int]) -> set[int]:
    """The files that have steps before them."""
    c = queue_table.c
    query = sa.select(c.file_id)
    return {found for batch in batches(ids, BATCH) for found in connection.execute(query.where(c.file_id.in_(batch))).scalars()}


def _makers(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Iterable[tuple[int, MadeBy]]:
    """Who made the outputs among the files."""
    c = file_table.c
    keys = ("dune.campaign", "core.application.version", "core.application.name")
    query = sa.select(c.id, *(c.metadata[key].as_string() for key in keys)).where(condition, c.origin == "outbox")
    for file_id, campaign, version, stage in connection.execute(query):
        if campaign and version and stage:
            yield file_id, MadeBy(campaign, version, stage)
