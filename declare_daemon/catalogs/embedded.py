"""The embedded catalogue: files, parents, datasets and replicas in one SQLite database of the workspace, no server needed.

A database of its own, never joined with the store. A site with MetaCat and Rucio does without it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from declare_daemon.catalogs.protocol import (
    AS_CONFIGURED,
    BATCH,
    CONFIRMED,
    OUTPUT_STATUS,
    Copies,
    Entry,
    Finding,
    Found,
    Keeping,
    Left,
    Recall,
    Replica,
    RuleState,
    Wanted,
    disagreements,
    matches,
)
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.records import FileRecord, MadeBy, split_did
from dune_prompt.store.database import Store, open_database

SCHEMA = 2

_metadata = sa.MetaData()

_file = sa.Table(
    "file",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("did", sa.Text, nullable=False, unique=True),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("adler32", sa.Text, nullable=False),
    sa.Column("retired", sa.Boolean, nullable=False, default=False),
    # Who made it, taken out of the metadata because every question about work left asks for it.
    sa.Column("campaign", sa.Text),
    sa.Column("version", sa.Text),
    sa.Column("stage", sa.Text),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("declared_at", sa.Float),
)

_parent = sa.Table(
    "parent",
    _metadata,
    sa.Column("parent_id", sa.Integer, sa.ForeignKey("file.id"), primary_key=True),
    sa.Column("child_id", sa.Integer, sa.ForeignKey("file.id"), primary_key=True),
    sqlite_with_rowid=False,
)

_dataset = sa.Table(
    "dataset",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("did", sa.Text, nullable=False, unique=True),
)

_member = sa.Table(
    "member",
    _metadata,
    sa.Column("dataset_id", sa.Integer, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("file_id", sa.Integer, sa.ForeignKey("file.id"), primary_key=True),
    sqlite_with_rowid=False,
)

_replica = sa.Table(
    "replica",
    _metadata,
    sa.Column("file_id", sa.Integer, sa.ForeignKey("file.id"), primary_key=True),
    sa.Column("rse", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)


class EmbeddedCatalog:
    """Implements `MetadataCatalog` and `ReplicaCatalog` (one storage element, `rse`; no rules)."""

    name = "embedded"

    def __init__(self, database: Store, rse: str) -> None:
        self._database, self._rse = database, rse
        # The marks that were right when the database was at this version of its content.
        self._marks: dict[str, tuple[int | None, str]] = {}

    @classmethod
    def at(cls, path: Path, *, rse: str = "LOCAL") -> EmbeddedCatalog:
        """The catalogue in the file `path`, made if it is not there.

        Raises:
            ConfigError: a newer dune-prompt wrote it.
        """
        database = Store(open_database(f"sqlite:///{path}"))
        with database.read() as connection:
            schema = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if schema > SCHEMA:
            raise ConfigError(f"{path}: written by a newer dune-prompt (schema {schema}, this one reads {SCHEMA}): install that one")
        if schema < SCHEMA:
            with database.write() as connection:
                _metadata.create_all(connection)
                if schema == 1:
                    connection.exec_driver_sql("ALTER TABLE file ADD COLUMN declared_at FLOAT")
                connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
        return cls(database, rse)

    def ping(self) -> None:
        with self._database.read() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        self._database.close()

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        try:
            with self._database.write() as connection:
                connection.execute(sa.select(1))
        except (TransientError, OSError) as error:
            return [Finding("writing", False, str(error))]
        return [Finding("writing", True, f"may declare {len({item.namespace for item in wanted})} namespaces")]

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        split_did(did)
        with self._database.write() as connection:
            connection.execute(insert(_dataset).on_conflict_do_nothing(), {"did": did})

    def look(self, dids: Sequence[str], *, with_metadata: bool = False) -> dict[str, Entry]:
        with self._database.read() as connection:
            return self._look(connection, dids, with_metadata=with_metadata)

    def _look(self, connection: sa.Connection, dids: Sequence[str], *, with_metadata: bool = False) -> dict[str, Entry]:
        c = _file.c
        query = sa.select(c.did, c.size_bytes, c.adler32, c.retired, c.declared_at, *([c.metadata] if with_metadata else []))
        return {row.did: Entry(**row._mapping) for part in _parts(dids) for row in connection.execute(query.where(c.did.in_(part)))}

    def declare(self, records: Sequence[FileRecord], dataset: str) -> None:
        if not records:
            return
        with self._database.write() as connection:
            entries = self._look(connection, [record.did for record in records])
            if found := disagreements(entries, records):
                raise ConflictError("; ".join(found.values()))
            new = {record.did: record for record in records if record.did not in entries}
            if new:
                now = time.time()
                connection.execute(sa.insert(_file), [_row(record) | {"declared_at": now} for record in new.values()])
            wanted = {record.did for record in records} | {parent for record in new.values() for parent in record.parents}
            ids = self._ids(connection, wanted)
            pairs = [(parent, record.did) for record in new.values() for parent in dict.fromkeys(record.parents)]
            if unknown := next(((parent, child) for parent, child in pairs if parent not in ids), None):
                raise DataError(f"{unknown[1]}: its parent {unknown[0]} is not declared")
            if pairs:
                rows = [{"parent_id": ids[parent], "child_id": ids[child]} for parent, child in pairs]
                connection.execute(insert(_parent).on_conflict_do_nothing(), rows)
            self._join(connection, dataset, [ids[record.did] for record in records])

    def _join(self, connection: sa.Connection, dataset: str, file_ids: Iterable[int]) -> None:
        dataset_id = connection.execute(sa.select(_dataset.c.id).where(_dataset.c.did == dataset)).scalar_one_or_none()
        if dataset_id is None:
            raise TransientError(f"{self.name}: dataset {dataset} is missing")
        rows = [{"dataset_id": dataset_id, "file_id": file_id} for file_id in file_ids]
        connection.execute(insert(_member).on_conflict_do_nothing(), rows)

    def _ids(self, connection: sa.Connection, dids: Iterable[str]) -> dict[str, int]:
        query = sa.select(_file.c.did, _file.c.id)
        return {did: id_ for part in _parts(list(dids)) for did, id_ in connection.execute(query.where(_file.c.did.in_(part)))}

    def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
        child, parent = _file.alias("child"), _file.alias("above")
        query = sa.select(parent.c.did, child.c.did).select_from(
            parent.join(_parent, _parent.c.parent_id == parent.c.id).join(child, child.c.id == _parent.c.child_id)
        )
        query = query.where(_made_by(child, made_by)).order_by(child.c.did)
        found: dict[str, list[str]] = defaultdict(list)
        with self._database.read() as connection:
            for part in _parts(dids):
                for above, below in connection.execute(query.where(parent.c.did.in_(part))):
                    found[above].append(below)
        return {did: tuple(children) for did, children in found.items()}

    def undone(self, dataset: str, made_by: MadeBy) -> list[str]:
        with self._database.read() as connection:
            of_dataset = _undone(_member.c.dataset_id == self._dataset_id(connection, dataset), made_by)
            query = sa.select(_file.c.did).join(of_dataset, of_dataset.c.file_id == _file.c.id).where(_file.c.retired.is_(False))
            return sorted(connection.execute(query).scalars())

    def datasets(self, pattern: str) -> list[str]:
        with self._database.read() as connection:
            return sorted(did for did in connection.execute(sa.select(_dataset.c.did)).scalars() if matches(did, pattern))

    def left(self, dataset: str, made_by: MadeBy, mark: str | None = None, known: Callable[[], Set[str]] = frozenset) -> Left | None:
        m, c = _member.c, _file.c
        version = self._database.change_mark()
        if mark is not None and self._marks.get(dataset) == (version, mark):
            return None
        with self._database.read() as connection:
            dataset_id = self._dataset_id(connection, dataset)
            counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(m.file_id), 0)).where(m.dataset_id == dataset_id)
            files, last = connection.execute(counted).one()
            self._marks[dataset] = (version, f"{files}/{last}")
            if mark == f"{files}/{last}":
                return None
            files_before, last_before = map(int, mark.split("/")) if mark else (0, 0)
            joined = connection.execute(sa.select(sa.func.count()).where(m.dataset_id == dataset_id, m.file_id > last_before)).scalar_one()
            # A file may also join that was declared before, into another dataset: then all have to be looked at again.
            whole = mark is None or joined != files - files_before
            wanted = _undone(sa.and_(m.dataset_id == dataset_id, *([] if whole else [m.file_id > last_before])), made_by)
            query = sa.select(c.did, c.size_bytes, c.adler32, c.retired, c.metadata, c.declared_at)
            query = query.join(wanted, wanted.c.file_id == c.id).where(c.retired.is_(False)).order_by(c.id)
            entries = {row.did: Entry(**row._mapping) for row in connection.execute(query)}
        return Left(frozenset(entries), entries, f"{files}/{last}", whole)

    def _dataset_id(self, connection: sa.Connection, did: str) -> int:
        """The dataset's id; that of none (0) if there is no such dataset."""
        return connection.execute(sa.select(_dataset.c.id).where(_dataset.c.did == did)).scalar_one_or_none() or 0

    def members(self, dataset: str) -> dict[str, Entry]:
        c = _file.c
        query = sa.select(c.did, c.size_bytes, c.adler32, c.retired).join(_member, _member.c.file_id == c.id)
        query = query.join(_dataset, _dataset.c.id == _member.c.dataset_id).where(_dataset.c.did == dataset)
        with self._database.read() as connection:
            return {row.did: Entry(**row._mapping) for row in connection.execute(query)}

    def confirm(self, dids: Sequence[str]) -> None:
        c = _file.c
        with self._database.write() as connection:
            for part in _parts(dids):
                rows = connection.execute(sa.select(c.id, c.metadata).where(c.did.in_(part))).all()
                values = [{"this_id": row.id, "new_metadata": row.metadata | {OUTPUT_STATUS: CONFIRMED}} for row in rows]
                statement = sa.update(_file).where(c.id == sa.bindparam("this_id")).values(metadata=sa.bindparam("new_metadata"))
                if values:
                    connection.execute(statement, values)

    def retire(self, dids: Sequence[str]) -> None:
        with self._database.write() as connection:
            for part in _parts(dids):
                connection.execute(sa.update(_file).where(_file.c.did.in_(part)).values(retired=True))

    def places_for(self, dids: Sequence[str], keeping: Keeping = AS_CONFIGURED) -> dict[str, str]:
        return {}

    def add(self, replicas: Sequence[Replica], dataset: str, keeping: Keeping = AS_CONFIGURED) -> None:
        if not replicas:
            return
        with self._database.write() as connection:
            entries = self._look(connection, [replica.did for replica in replicas])
            for replica in replicas:
                entry = entries.get(replica.did)
                if entry is None:
                    raise DataError(f"{replica.did}: a replica of a file that is not declared")
                if (entry.size_bytes, entry.adler32) != (replica.size_bytes, replica.adler32):
                    raise ConflictError(
                        f"{replica.did}: declared with size {entry.size_bytes}, adler32 {entry.adler32}; "
                        f"the replica {replica.path} has size {replica.size_bytes}, adler32 {replica.adler32}"
                    )
            ids = self._ids(connection, entries)
            rows = [{"file_id": ids[replica.did], "rse": self._rse, "path": replica.path} for replica in replicas]
            statement = insert(_replica)
            statement = statement.on_conflict_do_update(index_elements=["file_id", "rse"], set_={"path": statement.excluded.path})
            connection.execute(statement, rows)
            self._join(connection, dataset, ids.values())

    def copies(self, dids: Sequence[str], dataset: str, keeping: Keeping = AS_CONFIGURED, *, closely: bool = True) -> dict[str, Copies]:
        entries, places = self.look(dids), self.places(dids)
        return {
            did: Copies(did, entry.size_bytes, entry.adler32, {self._rse: places[did]} if did in places else {})
            for did, entry in entries.items()
        }

    def replicas_of(self, dataset: str) -> list[str]:
        return sorted(self.members(dataset).keys() & self.places(list(self.members(dataset))).keys())

    def find(self, dids: Sequence[str]) -> dict[str, tuple[Found, ...]]:
        return {did: (Found(self._rse, place),) for did, place in self.places(dids).items()}

    def recall(self, recall: Recall) -> RuleState:
        raise ConfigError(f"{self.name}: has no tape to read back from: `inputs.recall` needs Rucio")

    def recalled(self, recall: Recall) -> RuleState | None:
        return None

    def places(self, dids: Sequence[str]) -> dict[str, str]:
        """The path of each file's replica here; files without are absent."""
        query = sa.select(_file.c.did, _replica.c.path).join(_replica, _replica.c.file_id == _file.c.id).where(_replica.c.rse == self._rse)
        with self._database.read() as connection:
            return {did: path for part in _parts(dids) for did, path in connection.execute(query.where(_file.c.did.in_(part)))}


def _undone(members: sa.ColumnElement[bool], made_by: MadeBy) -> sa.Subquery:
    """The files (`file_id`) of these members that have no such child. The members come first: the files' own rows are many times larger."""
    child = _file.alias("child")
    done = sa.exists().where(_parent.c.parent_id == _member.c.file_id, _parent.c.child_id == child.c.id, _made_by(child, made_by))
    return sa.select(_member.c.file_id).where(members, ~done).subquery("undone")


def _parts(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _made_by(file: sa.FromClause, made_by: MadeBy) -> sa.ColumnElement[bool]:
    c = file.c
    same = (c.campaign == made_by.campaign) & (c.version == made_by.version) & (c.stage == made_by.stage)
    return same & c.retired.is_(False)


def _row(record: FileRecord) -> dict[str, Any]:
    return {
        "did": record.did,
        "size_bytes": record.size_bytes,
        "adler32": record.adler32,
        "retired": False,
        "campaign": record.metadata.get("dune.campaign"),
        "version": record.metadata.get("core.application.version"),
        "stage": record.metadata.get("core.application.name"),
        "metadata": record.metadata,
    }
