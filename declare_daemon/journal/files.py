"""A file in the journal: its row as plain data, how rows are read, and the one way a state changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import sqlalchemy as sa

from declare_daemon.journal import queue
from declare_daemon.journal.rows import batches
from declare_daemon.journal.states import FileState, check_transition
from declare_daemon.journal.tables import file_table
from dune_prompt.errors import ConflictError
from dune_prompt.records import FileRecord, split_did
from dune_prompt.store import Event, record_events

ROOM = "declare"
BATCH = 500
Origin = Literal["buffer", "outbox"]


@dataclass(frozen=True, slots=True)
class JournalFile:
    """One row of the journal. Times in seconds since the Unix epoch; what is not known yet is None."""

    id: int
    origin: Origin
    name: str
    path: str
    target: str | None
    state: FileState
    reason: str | None
    tries: int
    next_try: float
    stream: str | None
    did: str | None
    size_bytes: int | None
    adler32: str | None
    metadata: dict[str, Any]
    parents: tuple[str, ...]
    dataset: str | None
    run: int | None
    file_index: int | None
    attempt: str | None
    closed_at: float | None
    found_at: float
    verified_at: float | None
    declared_at: float | None
    left_at: float | None
    fid: str | None = None
    place: str | None = None
    proof: int | None = None

    def still_is(self, asked: JournalFile) -> bool:
        """Whether what was told of the file outside (`asked`, an earlier look at the row) is still so."""
        mine = (self.state, self.did, self.size_bytes, self.adler32, self.path, self.target, self.place)
        return mine == (asked.state, asked.did, asked.size_bytes, asked.adler32, asked.path, asked.target, asked.place)

    @property
    def subject(self) -> str:
        """How events call the file: its DID, before that is known its name."""
        return self.did or self.name

    @property
    def record(self) -> FileRecord:
        """The file as the catalogues know it; only after it was verified (or handed over)."""
        if self.did is None or self.size_bytes is None or self.adler32 is None:
            raise ConflictError(f"{self.name}: not verified yet, it has no record")
        namespace, name = split_did(self.did)
        return FileRecord(namespace, name, self.size_bytes, self.adler32, self.metadata, self.parents, self.dataset, self.fid)


_COLUMNS = [file_table.c[item.name] for item in fields(JournalFile)]


def select_files() -> sa.Select[Any]:
    """The query all others start from."""
    return sa.select(*_COLUMNS)


def fetch(connection: sa.Connection, query: sa.Select[Any], parameters: Mapping[str, Any] | None = None) -> list[JournalFile]:
    """The rows of a query made with `select_files`."""
    return [_file(row) for row in connection.execute(query, parameters or {}).mappings()]


def _file(row: Mapping[Any, Any]) -> JournalFile:
    values = dict(row)
    values["state"] = FileState(values["state"])
    values["metadata"] = values["metadata"] or {}
    values["parents"] = tuple(values["parents"] or ())
    return JournalFile(**values)


def files_by_did(connection: sa.Connection, dids: Iterable[str]) -> dict[str, JournalFile]:
    """The journal's rows of these DIDs; a DID the journal does not know is absent."""
    return {str(file.did): file for file in _fetch_in(connection, _BY_DID, dids)}


def files_by_name(connection: sa.Connection, origin: Origin, names: Iterable[str]) -> dict[str, JournalFile]:
    """The journal's rows of these file names."""
    return {file.name: file for file in _fetch_in(connection, _BY_NAME, names, origin=origin)}


def files_by_id(connection: sa.Connection, ids: Iterable[int]) -> dict[int, JournalFile]:
    """The journal's rows of these ids."""
    return {file.id: file for file in _fetch_in(connection, _BY_ID, ids)}


def _fetch_in(connection: sa.Connection, query: sa.Select[Any], values: Iterable[Any], **also: Any) -> Iterator[JournalFile]:
    for batch in batches(values, BATCH):
        for row in connection.execute(query, {"values": batch, **also}).mappings():
            yield _file(row)


# Made once: making a query with all columns costs more than carrying it out.
_VALUES: sa.BindParameter[Any] = sa.bindparam("values", expanding=True)
_BY_DID, _BY_ID = select_files().where(file_table.c.did.in_(_VALUES)), select_files().where(file_table.c.id.in_(_VALUES))
_BY_NAME = select_files().where(file_table.c.name.in_(_VALUES), file_table.c.origin == sa.bindparam("origin"))


def due(connection: sa.Connection, state: FileState, now: float, limit: int, *also: sa.ColumnElement[bool]) -> list[JournalFile]:
    """At most `limit` files in `state` whose next try is due, those that have waited longest for it first."""
    c = file_table.c
    return fetch(connection, select_files().where(c.state == state.value, c.next_try <= now, *also).order_by(c.next_try, c.id).limit(limit))


def counts(connection: sa.Connection) -> dict[str, dict[FileState, int]]:
    """How many files there are, by origin ('buffer', 'outbox') and state; what there is none of is absent."""
    c = file_table.c
    found: dict[str, dict[FileState, int]] = {"buffer": {}, "outbox": {}}
    for origin, state, number in connection.execute(sa.select(c.origin, c.state, sa.func.count()).group_by(c.origin, c.state)):
        found[origin][FileState(state)] = number
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """`file` goes into state `to`; `values` are the columns that change with it, `message` goes into the event."""

    file: JournalFile
    to: FileState
    values: Mapping[str, Any] = field(default_factory=dict)
    message: str | None = None
    by: str | None = None


def change(connection: sa.Connection, changes: Sequence[Change], now: float) -> None:
    """Carry out `changes`, each with its event.

    Raises:
        ConflictError: a transition is not allowed, or a row is no longer in the state it was read in.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for item in changes:
        check_transition(item.file.subject, item.file.state, item.to)
        # A file that starts again has to be proven again before it may leave.
        columns = {**item.values, "proof": None} if item.to is FileState.FOUND else item.values
        values = {f"new_{key}": value for key, value in columns.items()}
        groups[tuple(columns)].append({**values, "new_state": item.to.value, "this_id": item.file.id, "old_state": item.file.state.value})
    for keys, rows in groups.items():
        statement = (
            sa.update(file_table)
            .where(file_table.c.id == sa.bindparam("this_id"), file_table.c.state == sa.bindparam("old_state"))
            .values({key: sa.bindparam(f"new_{key}") for key in (*keys, "state")})
        )
        if (done := connection.execute(statement, rows).rowcount) != len(rows):
            raise ConflictError(f"journal: {len(rows) - done} of {len(rows)} files changed their state meanwhile")
    queue.follow(connection, {item.file.id: item.to for item in changes})
    record_events(
        connection,
        [
            Event(now, ROOM, str(item.values.get("did") or item.file.subject), item.file.state.value, item.to.value, item.by, item.message)
            for item in changes
        ],
    )


def update(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Change columns of files without a transition. Each row holds `id` and the same columns as the others."""
    if rows:
        keys = [key for key in rows[0] if key != "id"]
        statement = sa.update(file_table).where(file_table.c.id == sa.bindparam("this_id"))
        statement = statement.values({key: sa.bindparam(f"new_{key}") for key in keys})
        connection.execute(statement, [{"this_id": row["id"], **{f"new_{key}": row[key] for key in keys}} for row in rows])


def names_in(connection: sa.Connection, origin: Origin, states: Collection[FileState]) -> set[str]:
    """The names of all files of `origin` in one of `states`."""
    c = file_table.c
    query = sa.select(c.name).where(c.origin == origin, c.state.in_([state.value for state in states]))
    return set(connection.execute(query).scalars())
