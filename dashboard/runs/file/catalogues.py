"""What each catalogue holds of a file, side by side, as the journal declared it; the catalogues themselves are not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from declare_daemon.journal import JournalFile
from declare_daemon.journal.tables import queue_table, step_table, waiver_table
from declare_daemon.registration.steps import CONFIRM, METADATA, PLACE, PLACED, REPLICA, SENTENCES

ORDER = (METADATA, PLACE, PLACED, REPLICA, CONFIRM)


@dataclass(frozen=True, slots=True)
class CatalogueStep:
    """One thing a catalogue confirms of a file. `done_at` None: not yet; `next`: it can be done now."""

    name: str
    sentence: str
    done_at: float | None
    next: bool


@dataclass(frozen=True, slots=True)
class CatalogueRecord:
    """What one catalogue was told of a file. `identity`: how it calls it; None where it has not been told of a thing."""

    catalogue: str
    steps: Sequence[CatalogueStep]
    identity: str | None
    size_bytes: int | None
    adler32: str | None
    metadata: Mapping[str, Any] | None
    parents: Sequence[str]
    dataset: str | None
    place: str | None
    waived: tuple[str, str] | None

    @property
    def is_known(self) -> bool:
        return self.identity is not None


@dataclass(frozen=True, slots=True)
class FileRecords:
    """A file, and its record in each catalogue in the order of the site file. `answer`: why the next try is one, when it is."""

    file: JournalFile
    records: Sequence[CatalogueRecord]
    answer: str | None


def read_records(connection: sa.Connection, files: Sequence[JournalFile], catalogues: Sequence[str]) -> list[FileRecords]:
    """The records of files; a catalogue that is not in the site file any more is shown where it has confirmed something."""
    ids = [file.id for file in files]
    s, q, w = step_table.c, queue_table.c, waiver_table.c
    done: dict[tuple[int, str], dict[str, float]] = {}
    for row in connection.execute(sa.select(step_table).where(s.file_id.in_(ids))):
        done.setdefault((row.file_id, row.catalog), {})[row.step] = row.done_at
    queued = {(row.file_id, row.catalog, row.step) for row in connection.execute(sa.select(queue_table).where(q.file_id.in_(ids)))}
    waivers = connection.execute(sa.select(waiver_table).where(w.file_id.in_(ids)))
    waived = {(row.file_id, row.catalog): (row.by, row.why) for row in waivers}
    found = []
    for file in files:
        others = sorted({catalogue for file_id, catalogue in done if file_id == file.id} - set(catalogues))
        records = [
            _record(file, name, done.get((file.id, name), {}), queued, waived.get((file.id, name))) for name in [*catalogues, *others]
        ]
        found.append(FileRecords(file, records, file.reason if file.tries else None))
    return found


def _record(
    file: JournalFile,
    catalogue: str,
    done: Mapping[str, float],
    queued: set[tuple[int, str, str]],
    waived: tuple[str, str] | None,
) -> CatalogueRecord:
    names = [name for name in ORDER if name in done or (file.id, catalogue, name) in queued]
    steps = [CatalogueStep(name, SENTENCES[name], done.get(name), (file.id, catalogue, name) in queued) for name in names]
    described, copied = METADATA in done, REPLICA in done
    known = described or copied
    return CatalogueRecord(
        catalogue=catalogue,
        steps=steps,
        identity=_identity(file, catalogue) if known else None,
        size_bytes=file.size_bytes if known else None,
        adler32=file.adler32 if known else None,
        metadata=file.metadata if described else None,
        parents=file.parents if described else (),
        dataset=file.dataset if known and catalogue != "sam" else None,
        place=file.place if copied or PLACED in done else None,
        waived=waived,
    )


def _identity(file: JournalFile, catalogue: str) -> str | None:
    """How a catalogue calls the file: SAM by its name and a number of its own, the others by its DID."""
    if catalogue != "sam":
        return file.did
    return file.name if file.fid is None else f"{file.name}, file id {file.fid}"
