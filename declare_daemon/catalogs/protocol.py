"""What the daemon and the engine ask of a catalogue. MetaCat keeps metadata, Rucio keeps replicas, SAM and the embedded one both.

Every call is bulk (the catalogue itself cuts it into requests its server can take), and every write may be repeated: a write that may
have been carried out is looked up, never blindly sent again. A catalogue is used by one thread at a time. Errors of all of them:

* `TransientError`: the catalogue is away or slow, or did not answer clearly. Nothing is known about the call; ask again.
* `DataError`: one file of the batch can never be accepted as it is. Nothing of the batch was written.
* `ConflictError`: one file of the batch is there with other content. Nothing of the batch was written.
* `ConfigError`: no right to do this, or an address that is none.

A batch refused with `DataError` or `ConflictError` is halved by the caller until the file is alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from dune_prompt.records import FileRecord, MadeBy

BATCH = 500

# The key and its values that tell whether the copy of a derived file has been verified; production queries ask for the second.
OUTPUT_STATUS, RECORDED, CONFIRMED = "dune.output_status", "recorded", "confirmed"

# What a catalogue lacks of a query under a name: all of it, another text, or nothing.
Missing = Literal["all", "change", "nothing"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a catalogue has it. A retired file keeps its name for ever but is no longer found by queries.

    `fid` is the catalogue's own identity of the file, None if it has none; `declared_at` when it was entered, in seconds since the Unix
    epoch, None where the catalogue does not say.
    """

    did: str
    size_bytes: int
    adler32: str
    retired: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    fid: str | None = None
    declared_at: float | None = field(default=None, compare=False)

    def agrees_with(self, record: FileRecord) -> bool:
        """Whether it is the same file: same size, same checksum, not retired."""
        return not self.retired and (self.size_bytes, self.adler32) == (record.size_bytes, record.adler32)


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to do of a dataset.

    `dids`: the files without a child, of the whole dataset, or (not `whole`) of those that joined it since an earlier answer.
    `entries`: these files with their metadata; the caller's `known` ones may be missing. `mark`: how far the dataset was looked at.
    """

    dids: frozenset[str]
    entries: dict[str, Entry]
    mark: str
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Keeping:
    """How the files of a dataset are kept, where that differs from what the site file says of the catalogue.

    `rse`: the storage element the copy at hand counts as. `rules`: RSE expressions that each ask for one copy. `lifetime_s`: of the rules.
    """

    rse: str | None = None
    rules: tuple[str, ...] | None = None
    lifetime_s: float | None = None


AS_CONFIGURED = Keeping()


@dataclass(frozen=True, slots=True)
class Replica:
    """A file and where its copy lies: a path, or a `root://` address."""

    did: str
    size_bytes: int
    adler32: str
    path: str


@dataclass(frozen=True, slots=True)
class Copies:
    """What a catalogue knows of a file's copies.

    `places`: storage element -> address of the copy there, those that are whole and available only. `rules`: RSE expression of each rule
    that is asked for -> "OK" when a copy of this file is where the rule wants it and the rule is satisfied, else what it waits for.
    """

    did: str
    size_bytes: int
    adler32: str
    places: dict[str, str] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether a copy is known and every rule is satisfied."""
        return bool(self.places) and all(state == "OK" for state in self.rules.values())


@dataclass(frozen=True, slots=True)
class Found:
    """A copy of a file, wherever it is. `place`: a path or a `root://` address, empty where there is none that we can read; `tape`: it has
    to be read back first."""

    rse: str
    place: str
    tape: bool = False


@dataclass(frozen=True, slots=True)
class Recall:
    """Files to be read back from tape together, as a dataset of their own with one rule. The same recall may be asked for again.

    `rse`: RSE expression of the disk they go to; `lifetime_s`: how long they are kept there.
    """

    dataset: str
    dids: tuple[str, ...]
    rse: str
    lifetime_s: float
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RuleState:
    """How far a rule is: "OK", or what it waits for; `error` is what the catalogue says of the trouble it has."""

    id: str
    state: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files that somebody means to declare: their namespace and data tier, and how they are to be kept."""

    namespace: str
    data_tier: str
    keeping: Keeping = AS_CONFIGURED


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried for real. `expires_at` in seconds since the Unix epoch, for a credential; `owner` is who it is."""

    what: str
    ok: bool
    detail: str
    owner: str | None = None
    expires_at: float | None = None


class Catalog(Protocol):
    """What all catalogues have."""

    @property
    def name(self) -> str:
        """The catalogue in messages, and the key of what it has confirmed in the journal; it never changes."""

    def ping(self) -> None:
        """Return if the catalogue answers, raise as any other call would if not. Cheap."""

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        """Make the dataset (and its rules) unless it is there."""

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        """Try for real, but without a trace: who we are, until when, and whether we may declare the `wanted` files. Never raises."""

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

    def confirm(self, dids: Sequence[str]) -> None:
        """Note in the metadata of derived files that their copies have been verified (`dune.output_status: confirmed`)."""

    def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
        """The children of each file made by (campaign, version, stage), sorted; retired ones do not count, files without are absent."""

    def undone(self, dataset: str, made_by: MadeBy) -> list[str]:
        """The files of `dataset`, sorted, that have no such child; retired files are not listed, an unknown dataset has none."""

    def datasets(self, pattern: str) -> list[str]:
        """The datasets there are whose DID fits `pattern`, sorted; at most one `*` in it stands for any text, such as a run.

        A catalogue that cannot list its datasets gives back the pattern, which `left` then takes for one dataset.
        """

    def left(self, dataset: str, made_by: MadeBy, mark: str | None = None, known: Callable[[], Set[str]] = frozenset) -> Left | None:
        """The files of `dataset` that have no such child; with the `mark` of an earlier answer only those that joined since, where the
        catalogue can tell. None: nothing has joined or left the dataset since `mark`, which is cheap to find out.

        `known`: gives the files whose entry the caller has, if that is needed.
        """

    def members(self, dataset: str) -> dict[str, Entry]:
        """The files of `dataset`, without metadata; an unknown dataset has none."""

    def retire(self, dids: Sequence[str]) -> None:
        """Take files out of all queries; their names stay taken. Unknown and retired ones are passed over."""


class ReplicaCatalog(Catalog, Protocol):
    """Where files are, and the rules that keep and copy them."""

    def places_for(self, dids: Sequence[str], keeping: Keeping = AS_CONFIGURED) -> dict[str, str]:
        """Where copies of these files have to be made before they are `add`ed: a path or a `root://` address the daemon can write to.

        Empty if the catalogue takes files where they are.
        """

    def add(self, replicas: Sequence[Replica], dataset: str, keeping: Keeping = AS_CONFIGURED) -> None:
        """Say where files lie and put them into `dataset`. Of a file that is there with the same size and checksum, the path is updated
        where the catalogue can do that.

        Raises:
            ConflictError: a file is known with other size or checksum.
            ConfigError: a file lies where the storage element cannot have it.
        """

    def copies(self, dids: Sequence[str], dataset: str, keeping: Keeping = AS_CONFIGURED, *, closely: bool = True) -> dict[str, Copies]:
        """What is known of the copies of these files of `dataset`; unknown files are absent.

        `closely`: also what costs much to compare, as before a release; else as the catalogue says of each file.
        """

    def replicas_of(self, dataset: str) -> list[str]:
        """The DIDs of the files in `dataset`, sorted; an unknown dataset has none."""

    def find(self, dids: Sequence[str]) -> dict[str, tuple[Found, ...]]:
        """All available copies of these files, those at our own storage element first, tape last; files without any are absent."""

    def recall(self, recall: Recall) -> RuleState:
        """Ask for files to be read back from tape; one that was asked for before is found again.

        Raises:
            ConfigError: the catalogue has no tape, or we may not.
        """

    def recalled(self, recall: Recall) -> RuleState | None:
        """How far a recall is; None if there is no rule for it (any more)."""


class NamedQueries(Protocol):
    """Queries that a catalogue keeps under names, for others to use. Only ours are ever replaced."""

    def missing(self, name: str, text: str, *, replace: bool = False) -> Missing:
        """What the catalogue lacks of a query; nothing is changed. With `replace`, one of ours may have another text.

        Raises:
            ConflictError: the name is taken by a query with another text, which is not ours or not to be replaced.
        """

    def define(self, name: str, text: str, *, replace: bool = False) -> Missing:
        """Have the catalogue know `text` by `name`; what it lacked of that. Repeating it changes nothing.

        Raises:
            ConflictError: as `missing` says.
            ConfigError: the catalogue takes no such query or no such name.
        """


@dataclass(frozen=True, slots=True)
class OpenCatalog:
    """One entry of the site file's `catalogs`, opened.

    `gives_fid`: its identity of a file is taken over by MetaCat. `places`: it wants copies made before they are registered.
    """

    kind: str
    metadata: MetadataCatalog | None
    replicas: ReplicaCatalog | None
    gives_fid: bool = False
    places: bool = False

    @property
    def name(self) -> str:
        return next(part.name for part in (self.metadata, self.replicas) if part is not None)

    @property
    def parts(self) -> tuple[Catalog, ...]:
        """The metadata and the replica side, once if they are the same."""
        both = (self.metadata, self.replicas)
        return tuple({id(part): part for part in both if part is not None}.values())


@dataclass(frozen=True, slots=True)
class Catalogs:
    """The catalogues of an installation, in the order of the site file."""

    all: tuple[OpenCatalog, ...]

    @property
    def truth(self) -> MetadataCatalog:
        """The first metadata catalogue: its answer to 'is this file processed?' counts."""
        return next(catalog.metadata for catalog in self.all if catalog.metadata is not None)

    def close(self) -> None:
        for catalog in self.all:
            for part in catalog.parts:
                part.close()


def matches(did: str, pattern: str) -> bool:
    """Whether a DID fits a pattern with at most one `*`."""
    start, star, end = pattern.partition("*")
    return did == pattern if not star else did.startswith(start) and did.endswith(end) and len(did) >= len(start) + len(end)


def disagreements(entries: Mapping[str, Entry], records: Iterable[FileRecord]) -> dict[str, str]:
    """The records that contradict what a catalogue has under their name, each with a sentence that names both."""
    found = {}
    for record in records:
        entry = entries.get(record.did)
        if entry is not None and not entry.agrees_with(record):
            there = f"size {entry.size_bytes}, adler32 {entry.adler32}" + (", retired" if entry.retired else "")
            found[record.did] = f"{record.did}: declared with {there}; here size {record.size_bytes}, adler32 {record.adler32}"
    return found
