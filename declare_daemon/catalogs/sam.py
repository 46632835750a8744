"""SAM: names, metadata, parentage and locations of files, one namespace for the whole experiment.

What of it differs from the other catalogues:

* It declares file by file, without transactions: a batch with a bad file in it is declared but for that file, and repeating it asks for
  nothing but that file. Nothing that was accepted is taken back.
* It has no datasets and no namespaces. The dataset is a parameter of the file (`sam_metadata.DATASET`), so a file is in one at a time; the
  namespace is the dataset's. Files declared by others without that parameter are in no dataset of ours until we declare them too.
* Of a retired file it is told by `retired_date` in the metadata, or not at all: then it is unknown here, and declaring it again either is
  refused as taken (`ConflictError`) or makes a new file of that name.
* A location is a folder with a prefix that names the storage (`cern-eos:/eos/…`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, TypeVar
from urllib.parse import urlsplit

from declare_daemon.catalogs.http import Refusal
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
)
from declare_daemon.catalogs.sam_check import findings
from declare_daemon.catalogs.sam_clients import Form, SamClient, open_client
from declare_daemon.catalogs.sam_definitions import SamDefinitions
from declare_daemon.catalogs.sam_dims import ANYWHERE, in_dataset, made, quoted, selection, undone
from declare_daemon.catalogs.sam_metadata import (
    DATASET,
    checksum_of,
    dataset_of,
    is_retired,
    metadata_of,
    namespace_of,
    parameter,
    to_sam,
)
from declare_daemon.sidecar import seconds
from dune_prompt.errors import ConfigError, ConflictError, DataError, TransientError
from dune_prompt.records import FileRecord, MadeBy, split_did
from dune_prompt.settings.catalogs import SamSettings
from dune_prompt.settings.paths import XROOTD

# File names in one query: SAM's parser takes longer and longer with each.
NAMES_IN_QUERY = 100

# Storages whose files have to be staged first.
TAPE_PREFIXES = frozenset({"enstore", "castor", "cta", "tape"})

# What SAM adds to a location: state of a tape copy, or where on the tape it is.
_ADDED = re.compile(r"\([^()]*\)$")

Item = TypeVar("Item")

_LACKING = re.compile(r"unknown parameter|parameter \S+ (?:is unknown|does not exist)", re.IGNORECASE)


class SamCatalog:
    """Implements `MetadataCatalog` and, if the settings name a location prefix, `ReplicaCatalog` (no rules)."""

    name = "sam"

    def __init__(self, client: SamClient, settings: SamSettings) -> None:
        self._client, self._settings = client, settings
        self.definitions = SamDefinitions(client, self.count)
        self._threads = ThreadPoolExecutor(settings.connections, "sam")

    @classmethod
    def open(cls, settings: SamSettings) -> SamCatalog:
        """The catalogue of these settings; no server is asked.

        Raises:
            ConfigError: the client is not installed.
        """
        return cls(open_client(settings), settings)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def ping(self) -> None:
        try:
            self._client.count("file_name dune-prompt.is-anybody-there")
        except Refusal as refusal:
            raise TransientError(f"SAM: {refusal}") from None

    def check(self, wanted: Sequence[Wanted]) -> list[Finding]:
        return findings(self._client, self._settings, wanted)

    # -- metadata ------------------------------------------------------------------------------------------------------

    def ensure_dataset(self, did: str, keeping: Keeping = AS_CONFIGURED) -> None:
        split_did(did)

    def look(self, dids: Sequence[str], *, with_metadata: bool = False) -> dict[str, Entry]:
        return {did: _entry(did, form, with_metadata=with_metadata) for did, form in self._forms(dids).items()}

    def declare(self, records: Sequence[FileRecord], dataset: str) -> None:
        if not records:
            return
        there = self._forms([record.did for record in records])
        self._compare(there, records)
        missing = {record.did: record for record in records if record.did not in there}
        refused: list[DataError | ConflictError] = []
        for generation in _generations(list(missing.values())):
            refused += self._declare_new(generation, dataset)
        self._join([form for form in there.values() if dataset_of(form) != dataset], dataset)
        if refused:
            raise refused[0]

    def _declare_new(self, records: Sequence[FileRecord], dataset: str) -> list[DataError | ConflictError]:
        """Declare files that do not need each other; what is wrong with those that were refused."""
        forms: list[tuple[FileRecord, Form]] = []
        refused: list[DataError | ConflictError] = []
        for record in records:
            try:
                forms.append((record, to_sam(record, dataset)))
            except DataError as error:
                refused.append(error)
        answers = self._each(lambda item: self._client.declare(item[1]), forms)
        taken = []
        for (record, _), refusal in zip(forms, answers, strict=True):
            if refusal is not None and refusal.status == 409:
                taken.append(record)
            elif refusal is not None and _LACKING.search(refusal.message):
                # Every file would be refused so: an administrator has to make the parameter, and no file is to blame.
                raise ConfigError(f"SAM: {refusal.message} (found with {record.did}): have its administrators add it")
            elif refusal is not None:
                refused.append(DataError(f"{record.did}: SAM refuses its metadata: {refusal.message}"))
        # A name that is taken may have been taken by ourselves, a moment ago: an answer was lost.
        there = self._forms([record.did for record in taken])
        for record in taken:
            try:
                self._compare(there, [record])
            except ConflictError as error:
                refused.append(error)
            else:
                if record.did not in there:
                    refused.append(ConflictError(f"{record.did}: SAM says the name is taken but does not show by what (a retired file?)"))
        return refused

    def _compare(self, there: dict[str, Form], records: Iterable[FileRecord]) -> None:
        entries = {did: _entry(did, form, with_metadata=False) for did, form in there.items()}
        if found := disagreements(entries, records):
            raise ConflictError("; ".join(found.values()))

    def _join(self, forms: Sequence[Form], dataset: str) -> None:
        """Put files that are there into `dataset`. Only their owner may: what others declared stays as it is."""
        changes = [{"file_name": form["file_name"], DATASET: dataset} for form in forms]
        for part in _parts(changes, BATCH):
            try:
                self._client.modify(part)
            except (ConfigError, Refusal):
                for change in part:
                    try:
                        self._client.modify([change])
                    except (ConfigError, Refusal):
                        continue

    def confirm(self, dids: Sequence[str]) -> None:
        wanted = parameter(OUTPUT_STATUS)
        changes = [
            {"file_name": form["file_name"], wanted: CONFIRMED}
            for form in self._forms(dids).values()
            if next((value for key, value in form.items() if key.lower() == OUTPUT_STATUS), None) != CONFIRMED
        ]
        for part in _parts(changes, BATCH):
            try:
                self._client.modify(part)
            except Refusal as refusal:
                raise TransientError(f"SAM: confirming {len(part)} files: {refusal}") from None

    def children_of(self, dids: Sequence[str], made_by: MadeBy) -> dict[str, tuple[str, ...]]:
        asked: dict[str, list[str]] = defaultdict(list)
        for did in dids:
            asked[split_did(did)[1]].append(did)
        names: list[str] = []
        for part in _parts(list(asked), NAMES_IN_QUERY):
            of_these = f"file_name {','.join(map(quoted, part))} {ANYWHERE}"
            names += self._query(f"ischildof:( {of_these} ) and {made(made_by)} {ANYWHERE}")
        found: dict[str, set[str]] = defaultdict(set)
        for form in self._named(list(dict.fromkeys(names))):
            for parent in form.get("parents") or []:
                for did in asked.get(str(parent.get("file_name")), []):
                    found[did].add(_did(form, split_did(did)[0]))
        return {did: tuple(sorted(children)) for did, children in found.items()}

    def undone(self, dataset: str, made_by: MadeBy) -> list[str]:
        namespace = split_did(dataset)[0]
        return sorted(f"{namespace}:{name}" for name in self._query(f"{undone(in_dataset(dataset), made_by)} {ANYWHERE}"))

    def datasets(self, pattern: str) -> list[str]:
        # It has no list of them: the parameter of the files is asked for with the pattern.
        return [pattern]

    def left(self, dataset: str, made_by: MadeBy, mark: str | None = None, known: Callable[[], Set[str]] = frozenset) -> Left | None:
        """As the protocol says, always about the whole dataset: SAM's dates of files have no more than a day's precision in queries."""
        files = selection(dataset)
        counted = self.count(f"{files} {ANYWHERE}")
        if mark == str(counted):
            return None
        names = self._query(f"{undone(files, made_by)} {ANYWHERE}") if counted else []
        namespace, has = split_did(dataset)[0], known() if names else frozenset()
        there = {did for name in names if (did := f"{namespace}:{name}") in has}
        entries = {}
        for form in self._named([name for name in names if f"{namespace}:{name}" not in has]):
            did = f"{namespace_of(form) or namespace}:{form['file_name']}"
            if did.startswith(f"{namespace}:"):
                entries[did] = _entry(did, form, with_metadata=True)
        return Left(frozenset(there | entries.keys()), entries, str(counted))

    def count(self, dims: str) -> int:
        """How many files a query finds, such as `defname: NAME`.

        Raises:
            ConfigError: SAM does not understand it, or there is no such definition.
        """
        try:
            return self._client.count(dims)
        except Refusal as refusal:
            raise ConfigError(f"SAM: does not understand {dims[:200]!r}: {refusal}") from None

    def members(self, dataset: str) -> dict[str, Entry]:
        return {did: _entry(did, form, with_metadata=False) for did, form in self._members(dataset).items()}

    def _members(self, dataset: str, *, locations: bool = False) -> dict[str, Form]:
        namespace = split_did(dataset)[0]
        names = self._query(f"{in_dataset(dataset)} {ANYWHERE}")
        return {f"{namespace}:{form['file_name']}": form for form in self._named(names, locations=locations)}

    def retire(self, dids: Sequence[str]) -> None:
        living = [str(form["file_name"]) for form in self._forms(dids).values() if not is_retired(form)]
        for name, refusal in zip(living, self._each(self._client.retire, living), strict=True):
            # One that is gone or retired meanwhile is what was wanted.
            if refusal is not None and (form := next(iter(self._named([name])), None)) is not None and not is_retired(form):
                raise TransientError(f"SAM: retiring {name}: {refusal}")

    # -- replicas ------------------------------------------------------------------------------------------------------

    def places_for(self, dids: Sequence[str], keeping: Keeping = AS_CONFIGURED) -> dict[str, str]:
        return {}

    def add(self, replicas: Sequence[Replica], dataset: str, keeping: Keeping = AS_CONFIGURED) -> None:
        if not replicas:
            return
        forms = self._forms([replica.did for replica in replicas], locations=True)
        wanted: dict[str, tuple[str, str]] = {}
        for replica in replicas:
            form = forms.get(replica.did)
            if form is None:
                raise DataError(f"{replica.did}: a replica of a file that is not declared")
            entry = _entry(replica.did, form, with_metadata=False)
            if (entry.size_bytes, entry.adler32) != (replica.size_bytes, replica.adler32):
                raise ConflictError(
                    f"{replica.did}: declared with size {entry.size_bytes}, adler32 {entry.adler32}; "
                    f"the replica {replica.path} has size {replica.size_bytes}, adler32 {replica.adler32}"
                )
            wanted[replica.did] = (str(form["file_name"]), self._location(replica))
        self._locate(self._client.add_location, [item for did, item in wanted.items() if item[1] not in _locations(forms[did])])
        after = self._forms(list(wanted), locations=True)
        if lost := [did for did, (_, location) in wanted.items() if did not in after or location not in _locations(after[did])]:
            raise TransientError(f"SAM: accepted a location of {lost[0]} ({len(lost)} files) but does not show it")
        older = [(name, old) for did, (name, new) in wanted.items() for old in _locations(after[did]) if self._is_ours(old) and old != new]
        self._locate(self._client.remove_location, older)

    def _locate(self, write: Callable[[str, str], None], pairs: Sequence[tuple[str, str]]) -> None:
        refusals = self._each(lambda pair: write(*pair), pairs)
        for (name, location), refusal in zip(pairs, refusals, strict=True):
            if refusal is not None:
                # SAM knows its storages: a prefix or folder that is none of them has to be set right, here or there.
                raise ConfigError(f"SAM: location {location} of {name}: {refusal}")

    def copies(self, dids: Sequence[str], dataset: str, keeping: Keeping = AS_CONFIGURED, *, closely: bool = True) -> dict[str, Copies]:
        found = {}
        for did, form in self._forms(dids, locations=True).items():
            entry = _entry(did, form, with_metadata=False)
            places = {}
            for location in _locations(form):
                prefix, _, folder = location.partition(":")
                places[prefix] = f"{folder.rstrip('/')}/{form['file_name']}"
            found[did] = Copies(did, entry.size_bytes, entry.adler32, places)
        return found

    def replicas_of(self, dataset: str) -> list[str]:
        forms = self._members(dataset, locations=True)
        return sorted(did for did, form in forms.items() if any(map(self._is_ours, _locations(form))))

    def find(self, dids: Sequence[str]) -> dict[str, tuple[Found, ...]]:
        found = {}
        for did, form in self._forms(dids, locations=True).items():
            copies = [self._found(location, str(form["file_name"])) for location in _locations(form)]
            if copies:
                found[did] = tuple(sorted(copies, key=lambda copy: (copy.tape, copy.rse != self._settings.location, copy.rse)))
        return found

    def _found(self, location: str, name: str) -> Found:
        prefix, _, folder = location.partition(":")
        return Found(f"{prefix}:", f"{folder.rstrip('/')}/{name}", tape=prefix.lower() in TAPE_PREFIXES)

    def recall(self, recall: Recall) -> RuleState:
        raise ConfigError("SAM: does not read files back from tape: `inputs.recall` needs Rucio")

    def recalled(self, recall: Recall) -> RuleState | None:
        return None

    def _is_ours(self, location: str) -> bool:
        return bool(self._settings.location) and location.startswith(str(self._settings.location))

    def _location(self, replica: Replica) -> str:
        """The location that says where a replica lies. An address counts as its path."""
        address = replica.path
        path = "/" + urlsplit(address).path.lstrip("/") if address.startswith(XROOTD) else address
        folder, name = str(Path(path).parent), Path(path).name
        if not path.startswith("/") or name != split_did(replica.did)[1]:
            raise ConfigError(f"{replica.did}: SAM finds files by folder and name, so it cannot be told of {address}")
        if self._settings.location is None:
            raise ConfigError("SAM: `location` is not set, so there are no locations to add")
        return f"{self._settings.location}{folder}"

    # -- asking --------------------------------------------------------------------------------------------------------

    def _forms(self, dids: Sequence[str], *, locations: bool = False) -> dict[str, Form]:
        """What SAM has under the names of these files, by the DIDs asked for."""
        names = {did: split_did(did)[1] for did in dids}
        forms = {str(form["file_name"]): form for form in self._named(list(dict.fromkeys(names.values())), locations=locations)}
        return {did: forms[name] for did, name in names.items() if name in forms}

    def _named(self, names: Sequence[str], *, locations: bool = False) -> list[Form]:
        found: list[Form] = []
        for part in _parts(names, BATCH):
            try:
                found += self._client.metadata(part, locations=locations)
            except Refusal as refusal:
                raise TransientError(f"SAM: metadata of {len(part)} files: {refusal}") from None
        return found

    def _query(self, dims: str) -> list[str]:
        try:
            return self._client.files(dims)
        except Refusal as refusal:
            # No file is to blame for a query: SAM lacks a parameter of ours.
            raise ConfigError(f"SAM: does not understand {dims[:200]!r}: {refusal}") from None

    def _each(self, ask: Callable[[Item], None], items: Sequence[Item]) -> list[Refusal | None]:
        """Ask for each item, `connections` of them at once; the refusals, in order. After another error nothing new is asked."""
        stop = Event()

        def one(item: Item) -> Refusal | None:
            if stop.is_set():
                return None
            try:
                ask(item)
            except Refusal as refusal:
                return refusal
            except BaseException:
                stop.set()
                raise
            return None

        futures = [self._threads.submit(one, item) for item in items]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]


def _generations(records: Sequence[FileRecord]) -> Iterator[list[FileRecord]]:
    """`records` in groups that can be declared one after the other: parents before their children."""
    left = {record.did: record for record in records}
    while left:
        ready = [record for record in left.values() if not any(parent in left and parent != record.did for parent in record.parents)]
        # A circle of parents: SAM is to refuse it.
        group = ready or list(left.values())
        yield group
        for record in group:
            del left[record.did]


def _entry(did: str, form: Form, *, with_metadata: bool) -> Entry:
    return Entry(
        did=did,
        size_bytes=int(form.get("file_size") or 0),
        adler32=checksum_of(form),
        retired=is_retired(form),
        metadata=metadata_of(form) if with_metadata else {},
        fid=str(form["file_id"]) if form.get("file_id") is not None else None,
        declared_at=_declared_at(form),
    )


def _declared_at(form: Form) -> float | None:
    try:
        return seconds(form["create_date"], "SAM")
    except (DataError, KeyError):
        return None


def _did(form: Form, otherwise: str) -> str:
    return f"{namespace_of(form) or otherwise}:{form['file_name']}"


def _locations(form: Form) -> list[str]:
    """The locations of a file as `prefix:/folder`."""
    items: list[Any] = form.get("locations") or []
    texts = [item if isinstance(item, str) else str(item.get("full_path") or item.get("location") or "") for item in items]
    return [_ADDED.sub("", text).rstrip("/") for text in texts if text]


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
