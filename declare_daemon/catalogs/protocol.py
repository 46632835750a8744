"""What the daemon and the engine ask of a catalogue. SAM and MetaCat keep metadata, Rucio keeps replicas, the embedded one both.

Every call is bulk, at most `BATCH` files, and every write may be repeated. Errors of all of them:

* `TransientError`: the catalogue is away or slow, or did not answer clearly. Nothing is known about the call; ask again.
* `DataError`: one file of the batch can never be accepted as it is. Nothing of the batch was written.
* `ConflictError`: one file of the batch is there with other content. Nothing of the batch was written.
* `ConfigError`: no right to do this, or an address that is none.

A batch refused with `DataError` or `ConflictError` is halved by the caller until the file is alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dune_prompt.records import FileRecord, MadeBy

BATCH = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a catalogue has it. A retired file keeps its name for ever but is no longer found by queries."""

    did: str
    size_bytes: int
    adler32: str
    retired: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def agrees_with(self, record: FileRecord) -> bool:
        """Whether it is the same file: same size, same checksum, not retired."""
        return not self.retired and (self.size_bytes, self.adler32) == (record.size_bytes, record.adler32)


@dataclass(frozen=True, slots=True)
class Replica:
    """A file and where it lies in the catalogue's storage element."""

    did: str
    size_bytes: int
    adler32: str
    path: str


class Catalog(Protocol):
    """What all catalogues have."""

    @property
    def name(self) -> str:
        """The catalogue in messages, and the key of what it has confirmed in the journal; it never changes."""

    def ping(self) -> None:
        """Return if the catalogue answers, raise as any other call would if not."""

    def ensure_dataset(self, did: str) -> None:
        """Make the dataset (and its rules) unless it is there."""

    def close(self) -> None: ...


class MetadataCatalog(Catalog, Protocol):
    """Names, metadata and parentage."""

    def look(self, dids: Sequence[str], *, with_metadata: bool = False) -> dict[str, Entry]:
        """What is known of these files, retired ones included; unknown ones are absent."""

    def declare(self, records: Sequence[FileRecord], dataset: str) -> None:
        """Enter files, with their parents, and put them into `dataset`, all or none.

        A file that is there with the same size and checksum only joins the dataset. Parents are declared before their children.

        Raises:
            DataError: a parent is unknown, or metadata are refused.
            ConflictError: a name is taken by other content, or by a retired file.
            TransientError: also when the dataset is missing (`ensure_dataset` makes it).
        """

    def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
        """The children of each file made by (campaign, version, stage), sorted; retired ones do not count, files without are absent."""

    def undone(self, dataset: str, made_by: MadeBy) -> list[str]:
        """The files of `dataset`, sorted, that have no such child; retired files are not listed, an unknown dataset has none."""

    def retire(self, dids: Sequence[str]) -> None:
        """Take files out of all queries; their names stay taken. Unknown and retired ones are passed over."""


class ReplicaCatalog(Catalog, Protocol):
    """Where files are, and the rules that keep and copy them."""

    def add(self, replicas: Sequence[Replica], dataset: str) -> None:
        """Say where files lie and put them into `dataset`. Of a file that is there with the same size and checksum, the path is updated."""

    def rules_ok(self, dids: Sequence[str]) -> dict[str, bool]:
        """Whether each file has all the copies its rules ask for; False for an unknown file."""


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """One entry of the site file's `catalogs`, opened."""

    kind: str
    metadata: MetadataCatalog | None
    replicas: ReplicaCatalog | None

    @property
    def name(self) -> str:
        return next(part.name for part in (self.metadata, self.replicas) if part is not None)


@dataclass(frozen=True, slots=True)
class Catalogs:
    """The catalogues of an installation, in the order of the site file."""

    all: tuple[OpenCatalog, ...]

    @property
    def truth(self) -> MetadataCatalog:
        """The first metadata catalogue: its answer to 'is this file processed?' counts."""
        return next(catalog.metadata for catalog in self.all if catalog.metadata is not None)

    def close(self) -> None:
        for part in {id(part): part for catalog in self.all for part in (catalog.metadata, catalog.replicas) if part is not None}.values():
            part.close()


def disagreements(entries: Mapping[str, Entry], records: Iterable[FileRecord]) -> dict[str, str]:
    """The records that contradict what a catalogue has under their name, each with a sentence that names both."""
    found = {}
    for record in records:
        entry = entries.get(record.did)
        if entry is not None and not entry.agrees_with(record):
            there = f"size {entry.size_bytes}, adler32 {entry.adler32}" + (", retired" if entry.retired else "")
            found[record.did] = f"{record.did}: declared with {there}; here size {record.size_bytes}, adler32 {record.adler32}"
    return found
